#!/usr/bin/env bash
# Measures how long a lock of etcd has no holder: after a crash of the holder, and after a hand-over.
#
# A fresh etcd on free loopback ports, in a temporary directory; all of it is gone at the end. README.md
# says what is measured and from when to when.
set -euo pipefail

usage() {
    cat <<'END'
Usage: benches/peers/etcd-election.sh [--rounds N] [--election-ms MS] [--name NAME]

  --rounds N        how often each case is tried [default: 20]
  --election-ms MS  the election timeout of etcd, from which the shortest lease follows; the heartbeat
                    is a tenth of it [default: 1000, as etcd has it]
  --name NAME       the name in the column `system` [default: etcd]
  --help            this text

CSV goes to standard output: system,case,rounds,median_ms,p99_ms,worst_ms. Everything else goes to
standard error. Needs etcd and etcdctl 3.4 or later, and installs etcd-server and etcd-client with apt-get
if it can.
Exit codes: 0 measured, 1 it could not be measured, 2 bad arguments
END
}

rounds=20 election_ms=1000 name=etcd
while (($# > 0)); do
    case "$1" in
        --help) usage; exit 0 ;;
        --rounds) rounds="${2:?--rounds needs a number}"; shift 2 ;;
        --election-ms) election_ms="${2:?--election-ms needs a number}"; shift 2 ;;
        --name) name="${2:?--name needs a name}"; shift 2 ;;
        *) printf 'etcd-election: %s is no option\n' "$1" >&2; usage >&2; exit 2 ;;
    esac
done
# etcd wants five heartbeats in an election timeout, of 10 ms or more to be meant seriously.
if ! [[ $rounds =~ ^[1-9][0-9]{0,3}$ && $election_ms =~ ^[1-9][0-9]{2,4}$ && $name =~ ^[a-z0-9-]+$ ]]; then
    printf 'etcd-election: --rounds is 1 to 9999, --election-ms 100 to 50000, --name [a-z0-9-]\n' >&2
    exit 2
fi

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "etcd-election: $*"
    exit 1
}

install_missing() {
    local packages=()
    type -P etcd >/dev/null || packages+=(etcd-server)
    type -P etcdctl >/dev/null || packages+=(etcd-client)
    ((${#packages[@]} > 0)) || return 0
    local by_hand="sudo apt-get install --no-install-recommends ${packages[*]}" as_root=()
    type -P apt-get >/dev/null || fail "needs ${packages[*]}, and there is no apt-get here to install it"
    if ((EUID != 0)); then
        sudo -n true 2>/dev/null || fail "needs ${packages[*]}, and may not install it; try: $by_hand"
        as_root=(sudo -n)
    fi
    say "installing ${packages[*]}"
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
    "${apt[@]}" update </dev/null >&2 || say 'the package lists could not be refreshed; trying with those at hand'
    "${apt[@]}" install -y --no-install-recommends "${packages[@]}" </dev/null >&2 ||
        fail "apt-get could not install ${packages[*]}; try: $by_hand"
}

for tool in date sort awk mktemp mkfifo; do
    type -P "$tool" >/dev/null || fail "$tool is not installed"
done
install_missing

place="$(mktemp -d)"
readonly place
export ETCDCTL_API=3
unset "${!ETCD_@}"
etcd_pid='' endpoint='' candidates=0
# The pid of etcdctl by candidate. That of the command under the lock is in a file.
declare -A etcdctl_pid=()

# shellcheck disable=SC2317  # called by the trap
end_all() {
    local status=$? candidate pids=()
    trap '' INT TERM
    for candidate in "${!etcdctl_pid[@]}"; do
        pids+=("${etcdctl_pid[$candidate]}")
        # It may have begun to act after anybody looked.
        [[ ! -s $place/pid.$candidate ]] || pids+=("$(<"$place/pid.$candidate")")
    done
    [[ -z $etcd_pid ]] || pids+=("$etcd_pid")
    ((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$place"
    exit "$status"
}
trap end_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Microseconds since 1970, without starting a process.
now_us() {
    local now=$EPOCHREALTIME
    printf '%s' "${now/[.,]/}"
}

# Waits until a command succeeds, at most for 30 s.
until_true() {
    local what="$1" begun=$SECONDS
    shift
    until "$@"; do
        ((SECONDS - begun < 30)) || fail "waited in vain: $what"
        sleep 0.01
    done
}

ctl() {
    etcdctl --endpoints="$endpoint" "$@"
}

start_etcd() {
    local try client peer begun
    for try in 1 2 3 4 5; do
        client=$((20000 + RANDOM % 10000)) peer=$((10000 + RANDOM % 10000))
        endpoint="http://127.0.0.1:$client"
        etcd --name bench --data-dir "$place/etcd.$try" --logger zap --log-level error \
            --heartbeat-interval $((election_ms / 10)) --election-timeout "$election_ms" \
            --listen-client-urls "$endpoint" --advertise-client-urls "$endpoint" \
            --listen-peer-urls "http://127.0.0.1:$peer" \
            --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
            --initial-cluster "bench=http://127.0.0.1:$peer" >"$place/etcd.log" 2>&1 &
        etcd_pid=$!
        begun=$SECONDS
        # It ends when a port is taken.
        while kill -0 "$etcd_pid" 2>/dev/null && ((SECONDS - begun < 30)); do
            if ctl endpoint health >/dev/null 2>&1; then
                return 0
            fi
            sleep 0.1
        done
        kill -KILL "$etcd_pid" 2>/dev/null || true
        wait "$etcd_pid" 2>/dev/null || true
        etcd_pid=''
    done
    fail "etcd did not start: $(tail -n 3 "$place/etcd.log")"
}

# Starts a candidate for the lock, which acts as soon as it holds it: writes the time in ns, then holds
# the lock until a line comes through its pipe. Its number is in `candidates`.
start_candidate() {
    candidates=$((candidates + 1))
    mkfifo "$place/release.$candidates"
    # shellcheck disable=SC2016  # for the shell that acts
    local act='date +%s%N >"$0/acted.$1.new"; mv "$0/acted.$1.new" "$0/acted.$1"; echo $$ >"$0/pid.$1"
               read -r _ <>"$0/release.$1"'
    # Not through `ctl`: the pid would be that of a shell around it.
    etcdctl --endpoints="$endpoint" lock bench --ttl=1 -- sh -c "$act" "$place" "$candidates" \
        >/dev/null 2>"$place/candidate.log" &
    etcdctl_pid[$candidates]=$!
}

is_acting() {
    [[ -s $place/pid.$1 ]]
}

# Whether this many candidates hold the lock or stand in line for it.
are_in_line() {
    [[ $(ctl get --prefix bench/ --keys-only | grep -c '^bench/') == "$1" ]]
}

# Lets the command of a candidate end, and forgets the candidate.
release() {
    printf '\n' 1<>"$place/release.$1"
    wait "${etcdctl_pid[$1]}" 2>/dev/null || true
    forget "$1"
}

# The holder dies and its command is left behind, as it would be; it is ended only afterwards.
crash() {
    kill -KILL "${etcdctl_pid[$1]}"
    # At once, so that the shell has no death to report.
    wait "${etcdctl_pid[$1]}" 2>/dev/null || true
}

forget() {
    rm -f "$place/"{acted,pid,release}".$1"
    unset "etcdctl_pid[$1]"
}

# Somewhere within the lease's renewals, so that not all crashes come at the same age of the lease.
some_time() {
    sleep "$(awk -v seed="$RANDOM" 'BEGIN { srand(seed); printf "%.3f", 0.2 + rand() }')"
}

# One round: the holder goes by $1, and the time until the one in line acts goes to file $2, in us.
round() {
    local how="$1" times="$2" holder=$candidates begun ended next
    start_candidate
    next=$candidates
    until_true 'the second candidate stands in line' are_in_line 2
    some_time
    begun="$(now_us)"
    case "$how" in
        crash) crash "$holder" ;;
        release) printf '\n' 1<>"$place/release.$holder" ;;
    esac
    until_true 'the second candidate acts' is_acting "$next"
    ended="$(<"$place/acted.$next")"
    printf '%s\n' $((ended / 1000 - begun)) >>"$times"
    if [[ $how == crash ]]; then
        kill -KILL "$(<"$place/pid.$holder")"
    fi
    wait "${etcdctl_pid[$holder]}" 2>/dev/null || true
    forget "$holder"
}

# The CSV line of a case, and a line for people.
report() {
    local case="$1" times="$2"
    sort -n "$times" | awk -v system_name="$name" -v case_name="$case" '
        function rank(p) { at = int(p * NR); if (at < p * NR) at++; return us[at] / 1000 }
        { us[NR] = $1 }
        END {
            middle = (us[int((NR + 1) / 2)] + us[int(NR / 2) + 1]) / 2000
            printf "%s,%s,%d,%.1f,%.1f,%.1f\n", system_name, case_name, NR, middle, rank(0.99), us[NR] / 1000
            printf "%-16s %4d rounds  median %9.1f ms  p99 %9.1f ms  worst %9.1f ms\n", case_name, NR, middle,
                rank(0.99), us[NR] / 1000 >"/dev/stderr"
        }'
}

# What starting a shell that asks for the time takes: part of each figure.
start_of_a_command() {
    local try begun ended
    for ((try = 0; try < 20; try++)); do
        begun="$(now_us)"
        ended="$(sh -c 'date +%s%N')"
        printf '%s\n' $((ended / 1000 - begun))
    done | sort -n | sed -n 10p
}

say "etcd             $(etcd --version | sed -n 's/^etcd Version: //p'), one server, heartbeat $((election_ms / 10)) ms, election timeout $election_ms ms"
start_etcd
say "data             on $(stat -f -c %T "$place")"
say "asked for 1 s    $(ctl lease grant 1)"
start_candidate
until_true 'the first candidate holds the lock' is_acting "$candidates"
lease="$(ctl get --prefix bench/ --keys-only | sed -n 's|^bench/||p')"
say "the lock's own   $(ctl lease timetolive "$lease")"
say "of each figure   $(start_of_a_command) us is the start of the command that acts"

for ((done = 0; done < rounds; done++)); do
    round crash "$place/crash"
done
for ((done = 0; done < rounds; done++)); do
    round release "$place/release"
done
release "$candidates"

printf 'system,case,rounds,median_ms,p99_ms,worst_ms\n'
report crash-failover "$place/crash"
report hand-over "$place/release"
