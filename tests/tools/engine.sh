#!/bin/sh
# tests/tools/engine.sh docker|podman DIR [bridgeless]: a container engine for tests, until its input ends. As root.
#
# It listens on DIR/engine.sock, keeps everything in DIR and has the image "quorate-test:1", made from Debian's static
# busybox. It has process and mount namespaces of its own: so nothing that it started or mounted outlives it, however it
# ends, and DIR is removed. On its output it says "ready"; after the words "kill" (KILL to the engine and what serves it,
# while the containers go on) and "start" on its input, it says "killed" and "ready". "bridgeless" is for an engine
# beside others: it has no network, and changes no bridge and no firewall.
set -eu

kind=$1 dir=$2 more=${3:-}

if [ "${QUORATE_TEST_INSIDE:-}" != yes ]; then
    mkdir -p "$dir"
    set -- "$0" "$@"
    [ "$more" != bridgeless ] || set -- --net "$@"
    QUORATE_TEST_INSIDE=yes unshare --mount --pid --fork --kill-child --mount-proc "$@" || true
    # What it mounted is gone with the namespace.
    rm -rf "$dir"
    exit 0
fi

socket=$dir/engine.sock
PATH=$PATH:/usr/sbin:/sbin

podman_here() {
    podman --root "$dir/root" --runroot "$dir/run" --runtime runc --cgroup-manager cgroupfs --events-backend file "$@"
}

launch() {
    rm -f "$socket"
    case $kind in
        docker)
            # Left by one that was killed; these numbers mean others by now.
            rm -f "$dir/pid" "$dir/exec/containerd/containerd.pid"
            set -- --host "unix://$socket" --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/pid"
            [ "$more" != bridgeless ] || set -- "$@" --bridge none --iptables=false --ip-forward=false
            dockerd "$@" >>"$dir/log" 2>&1 </dev/null &
            ;;
        podman)
            set -- --root "$dir/root" --runroot "$dir/run" --runtime runc --cgroup-manager cgroupfs
            # Not by the function: that would be a shell's number.
            podman "$@" --events-backend file system service --time=0 "unix://$socket" >>"$dir/log" 2>&1 </dev/null &
            ;;
    esac
    engine=$!
    tries=0
    until answers; do
        tries=$((tries + 1))
        if ! kill -0 "$engine" 2>/dev/null || [ "$tries" -gt 600 ]; then
            echo "$kind did not start; the end of its log:"
            tail -n 20 "$dir/log"
            exit 1
        fi
        sleep 0.1
    done
    # The tests may be another user's.
    chmod 711 "$dir"
    chmod 666 "$socket"
}

answers() {
    case $kind in
        docker) docker -H "unix://$socket" version >/dev/null 2>&1 ;;
        podman) podman --url "unix://$socket" info >/dev/null 2>&1 ;;
    esac
}

load_image() {
    mkdir -p "$dir/image/bin" "$dir/image/etc" "$dir/image/tmp" "$dir/image/root" "$dir/image/home"
    cp /bin/busybox "$dir/image/bin/"
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$dir/image/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$dir/image/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' >"$dir/image/etc/group"
    tar -C "$dir/image" -cf "$dir/image.tar" .
    case $kind in
        docker) docker -H "unix://$socket" import "$dir/image.tar" quorate-test:1 >/dev/null ;;
        podman) podman_here import -q "$dir/image.tar" docker.io/library/quorate-test:1 >/dev/null 2>&1 ;;
    esac
    rm -rf "$dir/image" "$dir/image.tar"
}

if [ "$kind" = podman ] && [ -d /var/lib/cni ]; then
    # The addresses that containers of others have are not its business, nor its own theirs.
    mount -t tmpfs none /var/lib/cni
fi
launch
load_image
echo ready
while read -r word; do
    case $word in
        kill)
            kill -KILL "$engine"
            wait "$engine" 2>/dev/null || true
            # Docker's lives on, and keeps another dockerd from starting.
            [ "$kind" != docker ] || kill -KILL "$(cat "$dir/exec/containerd/containerd.pid")" 2>/dev/null || true
            echo killed
            ;;
        start)
            launch
            echo ready
            ;;
    esac
done
