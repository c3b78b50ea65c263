#!/bin/bash
# Starts Redis, API, intake, archive worker and engine of docker-compose.yml by podman-compose from the images of
# docker/build.sh, with a folder of new secrets. Debian's Redis takes the name of the Valkey image of that file. In the API's container it certifies an image (its argument) and
# verifies the certificate. Then it takes everything down again.
# What it prints is added to docs/images_build.log.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOLD="${CERTRAD_IMAGES_DIR:-/var/tmp/certrad-images}"
. docker/containers.sh
keep_log "docker/start.sh"
export CERTRAD_SECRETS="$HOLD/secrets"
rm -rf "$CERTRAD_SECRETS"
docker/redis/make_secrets.sh "$CERTRAD_SECRETS"
podman tag localhost/certrad-redis:latest docker.io/valkey/valkey:9.1
echo "docker.io/valkey/valkey:9.1 is a tag of localhost/certrad-redis here: the Redis of Debian, not Valkey"

trap 'podman-compose -p certrad down --volumes >/dev/null 2>&1 || true' EXIT
podman-compose -p certrad up --no-build --detach redis api intake archive engine >"$HOLD/up.log" 2>&1 || { cat "$HOLD/up.log"; exit 1; }

# Whether every queue has a worker. The health probe needs no key.
is_ready() {
  podman exec certrad_api_1 python -c "
import urllib.request
urllib.request.urlopen('http://127.0.0.1:8000/health/workers', timeout=5)" 2>/dev/null
}

for _ in $(seq 60); do
  if is_ready; then ready=yes; break; fi
  sleep 5
done
if [ -z "${ready:-}" ]; then
  for name in redis api intake archive engine; do podman logs --tail 20 "certrad_${name}_1" || true; done
  echo "a queue has no worker after five minutes" >&2
  exit 1
fi

key="$(podman exec certrad_api_1 certrad access add images --scopes submit,read)"
podman exec -i -e "CERTRAD_API_KEY=$key" certrad_api_1 sh -ec '
  cat >/tmp/image.dcm
  certrad certify /tmp/image.dcm --n 1000 --save /tmp/saved
  python -c "
import urllib.request
urllib.request.urlretrieve(\"http://127.0.0.1:8000/.well-known/certrad-keys\", \"/tmp/keys.json\")"
  certrad verify /tmp/saved/image.dcm.certificate.json --key /tmp/keys.json' <"${1:?names an image}"
podman ps --format '{{.Names}} {{.Image}} {{.Status}}'
