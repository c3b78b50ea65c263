# This builds the image of intake, archive worker, engine, connector and commands. The torch wheels bring CUDA; the host
# brings the driver. Build it from the repository's root.
ARG BASE=python:3.12-slim
FROM ${BASE} AS build
WORKDIR /src
COPY docker/requirements-worker.txt ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements-worker.txt
COPY pyproject.toml README.md LICENSE ./
COPY certrad certrad
COPY app app
COPY workers workers
COPY models models
RUN /venv/bin/pip install --no-cache-dir --no-deps . && /venv/bin/pip check

FROM ${BASE}
RUN useradd --uid 10001 --create-home certrad && mkdir -p -m 700 /data/signing /data/secrets /data/pacs /data/audit-trail && chown -R certrad /data
COPY --from=build /venv /venv
USER certrad
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 CERTRAD_DATA_DIR=/data
ENTRYPOINT ["certrad", "worker"]
CMD ["engine"]
