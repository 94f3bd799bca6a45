#!/usr/bin/env bash
# Brings compose.sidecars.yml up under a name of its own, makes traffic, and checks that every line of the three services
# arrived once and in order, that the sidecars turn healthy and stay small, and that re-creating a service together with its
# sidecar loses nothing. Takes everything down again, volumes too; images stay.
#
#   deploy/smoke.sh
#
# Environment: COMPOSE ("docker compose", else docker-compose), API_RATE (lines per second of the JSON service, 1000),
# MAX_RSS_KB (16384), BUILD=no (take the images as they are). Exit code 1 when a check fails, 69 where it cannot run.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly REQUESTS=2000 BROKEN=100 STATEMENTS=300
readonly MAX_RSS_KB=${MAX_RSS_KB:-16384}
export API_RATE=${API_RATE:-1000} NGINX_PORT= COMPOSE_PROJECT_NAME=rask-smoke-$$
unset RASK_ENDPOINT
if [[ -z ${COMPOSE:-} ]]; then
    if docker compose version >/dev/null 2>&1; then COMPOSE="docker compose"; else COMPOSE=docker-compose; fi
fi

say() { printf 'smoke: %s\n' "$*" >&2; }
fail() { say "FAILED: $*"; failed=1; }
compose() { $COMPOSE -f compose.sidecars.yml "$@" 2>>"$work/compose.log"; }
container() { docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$1"; }

# Repeats a command until it succeeds; $1 is how many seconds at most, $2 what is waited for.
wait_for() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || { fail "no $what"; return; }
        sleep 0.5
    done
}

# Waits until the receiver's count of records has not changed for three seconds.
settle() {
    local before= now same=0 until=$((SECONDS + 120))
    while ((same < 3)); do
        sleep 1
        now=$(docker logs --tail 1 "$(container rask-log-aggregator)" 2>&1 | cut -d' ' -f1)
        if [[ $now = "$before" ]]; then same=$((same + 1)); else same=0 before=$now; fi
        ((SECONDS < until)) || { fail "records still arrive"; return; }
    done
}

cleanup() {
    local status=$?
    if ((status != 0 || failed)); then
        tail -n 20 "$work/compose.log" >&2
        for service in nginx-logs postgres-logs api-logs rask-log-aggregator; do
            say "the last of $service:"
            docker logs --tail 15 "$(container $service)" >&2 || true
        done
    fi
    compose unpause api >/dev/null || true
    compose down --volumes --remove-orphans --timeout 2 >/dev/null || say "docker compose down failed"
    rm -rf "$work"
}

docker version >/dev/null 2>&1 || { say "no Docker daemon answers"; exit 69; }
# What a run that was killed has left behind.
for project in $(docker ps -a --format '{{.Label "com.docker.compose.project"}}' | grep '^rask-smoke-' | sort -u); do
    say "removing what $project left behind"
    of=(--filter "label=com.docker.compose.project=$project")
    docker ps -aq "${of[@]}" | xargs -r docker rm -f -v >/dev/null
    docker network ls -q "${of[@]}" | xargs -r docker network rm >/dev/null
    docker volume ls -q "${of[@]}" | xargs -r docker volume rm >/dev/null
done
for service in nginx postgres api; do
    # TARGET_SERVICE holds for the whole host: theirs would be collected with ours.
    [[ -z $(docker ps -aq --filter "label=com.docker.compose.service=$service") ]] ||
        { say "another Compose project has a service $service"; exit 69; }
done
work=$(mktemp -d) failed=0
trap cleanup EXIT

say "building and starting with $COMPOSE"
[[ ${BUILD:-} = no ]] || compose build >"$work/build.log" || { tail -n 30 "$work/build.log" "$work/compose.log" >&2; exit 1; }
compose up -d || exit 1
wait_for 60 "answer from nginx" docker exec "$(container nginx)" curl -sf http://localhost/
wait_for 60 "answer from PostgreSQL" docker exec "$(container postgres)" pg_isready -h localhost -U postgres -d shop

say "traffic: $((REQUESTS + BROKEN)) requests, $STATEMENTS failing statements, $API_RATE JSON lines a second"
# curl counts for itself: seq=0, 1, 2, ….
docker exec "$(container nginx)" curl -s -o /dev/null "http://localhost/?run=smoke&seq=[0-$((REQUESTS - 1))]"
docker exec "$(container nginx)" curl -s -o /dev/null "http://localhost/broken?run=broken&seq=[0-$((BROKEN - 1))]"
docker exec -i "$(container postgres)" psql -q -U postgres shop >/dev/null 2>&1 <<END || true
create function fail(n int) returns void language plpgsql as
    \$\$ begin raise exception 'cannot: seq=% run=smoke', n; end \$\$;
select format('select fail(%s)', n) from generate_series(0, $((STATEMENTS - 1))) n \gexec
END

say "re-creating api and its sidecar"
api=$(container api)
# Stopped before it is removed, so that its lines can be counted; its last ones have only the spool to go to.
compose stop --timeout 5 api >/dev/null
first=$(docker logs "$api" 2>/dev/null | tail -n 1 | sed 's/.*"run":"\([^"]*\)".*/\1/')
first_out=$(docker logs "$api" 2>/dev/null | wc -l) first_err=$(docker logs "$api" 2>&1 >/dev/null | wc -l)
compose up -d --force-recreate --no-deps api api-logs
sleep 5

say "waiting for health"
for service in nginx-logs postgres-logs api-logs; do
    wait_for 100 "healthy $service" sh -c "docker inspect -f '{{.State.Health.Status}}' $(container $service) | grep -qx healthy"
done

# Frozen rather than stopped: its network namespace has to live for its last lines.
compose pause api >/dev/null
settle
api=$(container api)
second=$(docker logs "$api" 2>/dev/null | tail -n 1 | sed 's/.*"run":"\([^"]*\)".*/\1/')
second_out=$(docker logs "$api" 2>/dev/null | wc -l) second_err=$(docker logs "$api" 2>&1 >/dev/null | wc -l)
for service in nginx-logs postgres-logs api-logs; do
    pid=$(docker inspect -f '{{.State.Pid}}' "$(container $service)")
    peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || { say "$service: memory is not to be seen from here"; continue; }
    say "$service: peak RSS $peak kB"
    ((peak < MAX_RSS_KB)) || fail "$service: peak RSS is not below $MAX_RSS_KB kB"
done

compose stop --timeout 10 rask-log-aggregator >/dev/null
docker logs "$(container rask-log-aggregator)" 2>/dev/null | grep -v 'records, .* p50' >"$work/report"
cat "$work/report" >&2
# Service, stream, run and count of a sequence that must be there and exact.
expect() {
    ((${#3} > 0 && $4 > 0)) || fail "$1 $2: nothing was written"
    grep -qF "$1 $2 run $3: $4 records, 0 missing, 0 twice, 0 out of order" "$work/report" ||
        fail "$1 $2 run $3: not the $4 lines that were written"
}
expect nginx stdout smoke $REQUESTS
expect nginx stdout broken $BROKEN
expect nginx stderr broken $BROKEN
expect postgres stderr smoke $STATEMENTS
expect api stdout "$first" "$first_out"
expect api stderr "$first" "$first_err"
expect api stdout "$second" "$second_out"
expect api stderr "$second" "$second_err"
grep -q ' 0 malformed' "$work/report" || fail "malformed records"
! grep '^violation' "$work/report" || fail "records against the wire format"
((failed)) || say "ok, in $SECONDS s"
exit $failed
