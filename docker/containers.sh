# Settings of buildah and podman for images and containers under $HOLD. Sourced by docker/build.sh and docker/start.sh.
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
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=1024:1024"]
END
export CONTAINERS_STORAGE_CONF="$HOLD/storage.conf" CONTAINERS_CONF="$HOLD/containers.conf"
