# Settings of buildah and podman for images and containers under $HOLD. Sourced by docker/build.sh and docker/start.sh.
# `keep_log NAME` copies what is printed from then on to docs/images_build.log.
# The network is netavark's, whose DNS tells a container where `redis` is.
# Containers get the limits of this shell where they are lower than podman's own, which it may not be allowed to set.
mkdir -p "$HOLD"
cat >"$HOLD/storage.conf" <<END
[storage]
driver = "${CERTRAD_STORAGE_DRIVER:-overlay}"
graphroot = "$HOLD/store"
runroot = "$HOLD/run"
END
cat >"$HOLD/containers.conf" <<END
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[network]
network_backend = "netavark"
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=1024:1024"]
END
export CONTAINERS_STORAGE_CONF="$HOLD/storage.conf" CONTAINERS_CONF="$HOLD/containers.conf"

keep_log() {
  [ -z "${CERTRAD_LOG_KEPT:-}" ] || return 0
  export CERTRAD_LOG_KEPT=1
  exec > >(tee -a docs/images_build.log) 2>&1
  echo "==== $1, $(date -u +%Y-%m-%d), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
}
