# Sourced by tests/run: one etcd and one mongod on loopback, and a container engine of each kind, for the whole run, gone
# with it.

servers=()        # process ids
engines=()        # the ends of pipes: an engine's keeper ends with its input
servers_dir=

stop_servers() {
    # Their data is thrown away, so nothing is lost by not asking politely.
    ((${#servers[@]} == 0)) || kill -KILL "${servers[@]}" 2>/dev/null || true
    local engine
    for engine in "${engines[@]}"; do
        exec {engine}>&-
    done
    wait 2>/dev/null || true
    [ -z "$servers_dir" ] || rm -rf "$servers_dir"
}

# free_ports N: N ports that nobody has, outside the range from which outgoing connections take theirs.
free_ports() {
    python3 - "$1" <<'PYTHON'
import random, socket, sys
held = []
while len(held) < int(sys.argv[1]):
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", random.randrange(20000, 32000)))
        held.append(probe)
    except OSError:
        probe.close()
print(*(probe.getsockname()[1] for probe in held))
PYTHON
}

# serve NAME READY COMMAND…: starts a server and waits until its log says READY. False if it ended instead.
serve() {
    local name=$1 ready=$2 log=$servers_dir/$1.log deadline=$((SECONDS + 60)) pid
    shift 2
    # There before the server is, for grep.
    : >"$log"
    "$@" >>"$log" 2>&1 </dev/null &
    pid=$!
    servers+=("$pid")
    until grep -q "$ready" "$log"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            return 1
        elif ((SECONDS > deadline)); then
            echo "tests/run: $name is not ready after 60 s; its log ends so:" >&2
            tail -n 20 "$log" >&2
            exit 1
        fi
        sleep 0.05
    done
}

serve_etcd() {
    local client peer
    read -r client peer < <(free_ports 2)
    serve etcd 'serving client traffic' "$QUORATE_TEST_ETCD" --data-dir "$servers_dir/etcd.$client" \
        --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
        --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
        --initial-cluster "default=http://127.0.0.1:$peer" --logger zap || return 1
    export QUORATE_TEST_ETCD_ENDPOINT=127.0.0.1:$client
}

serve_mongod() {
    local port
    read -r port < <(free_ports 1)
    mkdir -p "$servers_dir/mongod.$port"
    # Expired documents go every second, not every minute, so that a test can wait for it.
    serve mongod 'Waiting for connections' "$QUORATE_TEST_MONGOD" --dbpath "$servers_dir/mongod.$port" \
        --bind_ip 127.0.0.1 --port "$port" --nounixsocket --wiredTigerCacheSizeGB 0.25 \
        --setParameter ttlMonitorSleepSecs=1 --setParameter diagnosticDataCollectionEnabled=false || return 1
    export QUORATE_TEST_MONGODB_URI=mongodb://127.0.0.1:$port/
}

# start NAME: a few times, since somebody may take the port in between.
start() {
    local attempt
    for attempt in 1 2 3; do
        "serve_$1" && return
        echo "$1 ended at start ($attempt of 3):" >&2
        tail -n 5 "$servers_dir/$1.log" >&2
    done
    exit 1
}

# start_engine docker|podman: as root, like its keeper.
start_engine() {
    local input command=(tests/tools/engine.sh "$1" "$servers_dir/$1")
    [ "$(id -u)" = 0 ] || command=(sudo -n "${command[@]}")
    : >"$servers_dir/$1.log"
    mkfifo "$servers_dir/$1.in"
    "${command[@]}" <"$servers_dir/$1.in" >"$servers_dir/$1.log" 2>&1 &
    exec {input}>"$servers_dir/$1.in"
    engines+=("$input")
    until grep -q ready "$servers_dir/$1.log"; do
        if ! kill -0 $! 2>/dev/null; then
            echo "tests/run: the container engine $1 did not start:" >&2
            cat "$servers_dir/$1.log" >&2
            exit 1
        fi
        sleep 0.1
    done
    export "QUORATE_TEST_${1^^}_SOCKET=$servers_dir/$1/engine.sock"
}

start_servers() {
    # Podman takes no folder of more than 50 characters, and a socket none of more than 108: not below TMPDIR, which may be
    # long.
    servers_dir=$(mktemp -d /tmp/quorate.XXXXXX)
    start etcd
    start mongod
    start_engine docker
    start_engine podman
    # The tests may be another user's than the engines.
    chmod 711 "$servers_dir"
    echo "etcd at $QUORATE_TEST_ETCD_ENDPOINT, mongod at $QUORATE_TEST_MONGODB_URI"
}
