#!/bin/bash
# Starts Redis, API, intake and engine of docker-compose.yml by podman-compose from the images of docker/build.sh, with
# a folder of new secrets, certifies an image (its argument) in the API's container and takes everything down again.
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

trap 'podman-compose -p certrad down --volumes >/dev/null 2>&1 || true' EXIT
podman-compose -p certrad up --no-build --detach redis api intake engine

for _ in $(seq 120); do
  if podman exec certrad_api_1 python -c "
import json, sys, urllib.error, urllib.request
try:
    queues = json.load(urllib.request.urlopen('http://127.0.0.1:8000/health/workers', timeout=5))['queues']
except urllib.error.HTTPError as error:
    queues = json.load(error).get('queues', {})
sys.exit(not (queues.get('intake') and queues.get('engine')))" 2>/dev/null; then
    break
  fi
  sleep 5
done

key="$(podman exec certrad_api_1 certrad access add images --scopes submit,read)"
podman exec -i -e "CERTRAD_API_KEY=$key" certrad_api_1 sh -c 'cat >/tmp/image.dcm && certrad certify /tmp/image.dcm --n 1000' <"${1:?names an image}"
podman-compose -p certrad ps
