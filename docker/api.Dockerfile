# This builds the image of the HTTP API. It has no torch, no numpy and no image decoder. Build it from the repository's
# root.
ARG BASE=python:3.12-slim
FROM ${BASE} AS build
WORKDIR /src
COPY docker/requirements-api.txt ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements-api.txt
COPY pyproject.toml README.md LICENSE ./
COPY certrad certrad
COPY app app
COPY workers workers
COPY models models
RUN /venv/bin/pip install --no-cache-dir --no-deps . && /venv/bin/pip check

FROM ${BASE}
RUN useradd --uid 10001 --create-home certrad && mkdir -p -m 700 /data/pacs && chown -R certrad /data
COPY --from=build /venv /venv
USER certrad
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 CERTRAD_DATA_DIR=/data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/live', timeout=2)"]
# Loopback would reach nobody here. On every other address the API asks for a key.
CMD ["certrad", "api", "--host", "0.0.0.0", "--port", "8000"]
