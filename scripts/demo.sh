#!/bin/sh
# Shows the engine at work: an image, a web server with a bind mount and a published port, a look at it, clean-up.
# Runs in namespaces of its own (tests/isolated), so the host stays as it is. Usage: demo.sh BIN
set -eu
bin=$(cd "$1" && pwd)
work=$(mktemp -d)
daemon=
end() {
  [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon" 2>/dev/null; } || true
  rm -rf "$work"
}
trap end EXIT INT TERM

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
now() { date +%s%N; }
run() { # run COMMAND...: show the command, its output and the time it took
  say "$@"
  begun=$(now)
  "$@"
  printf '\033[2m  (%d ms)\033[0m\n' $((($(now) - begun) / 1000000))
}

export DOCKER_HOST="unix://$work/sampan.sock" PATH="$bin:$PATH"
say "sampand --data-root $work/data -H $DOCKER_HOST &"
sampand --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" -H "$DOCKER_HOST" >"$work/log" 2>&1 &
daemon=$!
tries=0
until sampan version >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ "$tries" -lt 200 ] && kill -0 "$daemon" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
  sleep 0.05
done

mkdir "$work/www"
echo 'Hello from a container.' >"$work/www/index.html"

run sampan image bootstrap busybox
run sampan images
run sampan run --rm busybox echo 'a whole life: created, started, waited for, removed'
run sampan run -d --name web -p 8080:80 -v "$work/www:/www:ro" busybox httpd -f -v -h /www
say 'wget -qO- http://127.0.0.1:8080/'
fetch='import sys, urllib.request; print(urllib.request.urlopen("http://127.0.0.1:8080/", timeout=10).read().decode(), end="")'
tries=0
until "$bin/python3" -c "$fetch" >"$work/page" 2>/dev/null; do # the container runs, its server may not listen yet
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || { sampan logs web >&2; exit 1; }
  sleep 0.05
done
cat "$work/page"
grep -q 'Hello from a container.' "$work/page"
run sampan ps
run sampan logs web
run sampan exec web ps
run sampan inspect -f '{{.State.Status}} with pid {{.State.Pid}}, address {{.NetworkSettings.IPAddress}}' web
run sampan stop -t 1 web
run sampan rm web

kill "$daemon" && wait "$daemon" || true
daemon=
left=$(findmnt -rno TARGET | grep -c "$work" || true)
printf '\nThe daemon has ended; mounts left behind: %s\n' "$left"
[ "$left" = 0 ]
