#!/bin/bash
# Builds the images of docker-compose.yml where no image registry can be reached, and starts its services from them.
#
#   docker/build.sh                builds every image: base, redis, api, worker
#   docker/build.sh STEP           builds one of them
#   docker/build.sh start FILE     starts the services and certifies the medical image in FILE
#
# What it prints is added to docs/images_build.log.
#
# It needs root and the Debian packages that docs/deployment.md names. The base is made by debootstrap; api and worker are
# built by buildah from the Dockerfiles that Docker uses, with BASE as the only difference. pip takes what pip on this
# machine takes: its settings and the folders that they name are mounted for the build.
set -euo pipefail
cd "$(dirname "$0")/.."
export HOLD="${CERTRAD_IMAGES_DIR:-/var/tmp/certrad-images}"
. docker/containers.sh
keep_log "docker/build.sh $*"

made() { buildah images --format '{{.Name}}:{{.Tag}} {{.Size}}' | grep "certrad-$1:"; }

base() {
  local root="$HOLD/base"
  rm -rf "$root"
  debootstrap --variant=minbase --include=ca-certificates,python-is-python3,python3-venv bookworm "$root" >"$HOLD/base.log"
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . | podman import --quiet - localhost/certrad-base:latest >/dev/null
  rm -rf "$root"
  made base
}

# Debian's Redis under the name of the compose file's image: the same configuration, TLS, ACL and append-only file.
redis() {
  local container
  container=$(buildah from localhost/certrad-base:latest)
  buildah run --isolation chroot "$container" -- sh -c \
    'apt-get -qq update && apt-get -qq install -y --no-install-recommends redis-server redis-tools >/dev/null 2>&1 &&
     rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb &&
     ln -s redis-server /usr/bin/valkey-server && ln -s redis-cli /usr/bin/valkey-cli && mkdir -p /data && chown 999:999 /data'
  buildah config --user 999:999 --workingdir /data --cmd '["valkey-server"]' "$container"
  buildah commit --quiet --rm "$container" localhost/certrad-redis:latest >/dev/null
  made redis
}

image() {
  local mounts=()
  mapfile -t mounts < <(pip_of_this_machine "$HOLD/pip.conf")
  buildah bud --layers --isolation chroot --format docker --quiet --build-arg BASE=localhost/certrad-base:latest "${mounts[@]}" \
    --file "docker/$1.Dockerfile" --tag "localhost/certrad-$1:latest" . >"$HOLD/$1.log" 2>&1 || { tail -30 "$HOLD/$1.log"; exit 1; }
  made "$1"
}

# Writes the settings of pip here as a file, and prints the options that mount it and every local path it names.
pip_of_this_machine() {
  python3 -m pip config list | python3 docker/pip_settings.py "$1"
}

step() {
  local started=$SECONDS
  echo "== $1"
  "$@"
  echo "-- $1: $((SECONDS - started)) s"
}

for name in ${1:-base redis api worker}; do
  case "$name" in
    base | redis) step "$name" ;;
    api | worker) step image "$name" ;;
    start) step docker/start.sh "${2:?names the file of a medical image}" ;;
    *) echo "no step $name" >&2; exit 2 ;;
  esac
done
