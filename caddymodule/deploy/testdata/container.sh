# Builds the image of Containerfile and runs the services of compose.yaml without a container runtime: stages are
# folders, services are processes with one of them as their root, read-only and without privileges. It runs as root in
# mount, network and process namespaces of its own, which end with it.
#
# The test writes what the two files say to $DIR: build.sh (the steps of the first stage), image.sh (those of the last
# one), files (what is sent to the build), and variables:
#   SRC         the repository
#   CACHES      folders that the build sees as they are: Go and its caches
#   IMAGE_USER  USER of the image; ENV, HEALTH its environment and health check
#   GATE_ENV GATE_CMD APP_CMD  of the services
#   PROMETHEUS  the program; empty: not run
set -euo pipefail
cd "$DIR"
. ./variables
if [ "${1:-}" = "" ]; then
	exec unshare --mount --pid --fork --kill-child --mount-proc bash "$0" build
fi
if [ "$1" = build ]; then
	trap 'rm -rf image volume run' EXIT # root's files, which the test could not remove
	mkdir -p layers image volume/data run
	mount -t tmpfs tmpfs layers
	mkdir layers/upper layers/work layers/build

	# The first stage: this machine, with its Go, under a layer that takes what the build writes.
	mount -t overlay overlay -o lowerdir=/,upperdir=layers/upper,workdir=layers/work layers/build
	for dir in /proc /dev $CACHES; do
		mkdir -p "layers/build$dir"
		mount --bind "$dir" "layers/build$dir"
	done
	mkdir layers/build/src
	tar -C "$SRC" --no-recursion --null -T "$DIR/files" -cf - | tar -C layers/build/src -xf -
	chroot layers/build /bin/sh -euc "$(cat build.sh)"
	echo "built"

	# The last stage.
	copy() { # OWNER FROM TO
		mkdir -p "$(dirname "$3")"
		if [ -d "$2" ]; then cp -rT "$2" "$3"; else cp -L "$2" "$3"; fi
		chown -R "$1" "$3"
	}
	. ./image.sh
	find image -type f -printf '%M %U:%G %s %p\n'
	[ "$(find image -type f -perm /111 | wc -l)" = 1 ] || { echo "more than one program"; exit 1; }
	# The build may fetch modules; the image has no network but its own.
	unshare --net bash "$0" run
	exit
fi

ip link set lo up
printf '127.0.0.1 localhost gate app prometheus\n' >hosts
mount --bind hosts /etc/hosts
mkdir -p image/proc image/etc
cp hosts image/etc/hosts
touch image/etc/talos/app.caddyfile
cp -a image/data/. volume/data/
chown --reference=image/data volume/data

# container MOUNTS ENV COMMAND... runs a command in the image.
container() {
	unshare --mount bash -euc '
		mounts=$1 env=$2
		shift 2
		mount --bind image image
		for m in $mounts; do mount --bind "${m%%:*}" "image${m#*:}"; done
		mount -t proc -o ro proc image/proc
		mount -o remount,ro,bind image
		exec env -i $env '"$(command -v setpriv)"' --no-new-privs '"$(command -v chroot)"' --userspec='"$IMAGE_USER"' image "$@"
	' container "$@"
}
gate="$SRC/caddymodule/deploy/container/Caddyfile:/etc/talos/Caddyfile volume/data:/data"
app="$SRC/caddymodule/deploy/container/app.caddyfile:/etc/talos/app.caddyfile"
until_ok() { # tries a command for half a minute
	local end=$((SECONDS + 30))
	until "$@" >run/out 2>&1; do
		[ $SECONDS -lt $end ] || { echo "no success: $*"; cat run/out run/*.log; return 1; }
		sleep 0.1
	done
}
status() { curl -s -o run/body -w '%{http_code}' "$@"; }
expect() { # STATUS TEXT CURL-ARGUMENT...
	local want=$1 text=$2 got
	shift 2
	got=$(status "$@")
	[ "$got" = "$want" ] && grep -q -- "$text" run/body || { echo "$* answers $got, expected $want and $text:"; cat run/body run/*.log; exit 1; }
}

container "$app" "$ENV" $APP_CMD >run/app.log 2>&1 &
container "$gate" "$ENV $GATE_ENV" $GATE_CMD >run/gate.log 2>&1 &
until_ok container "$gate" "$ENV" $HEALTH
echo "healthy"

# What `docker compose exec gate /talos keys …` does.
secret=$(container "$gate" "$ENV" /talos keys issue "a key" --actor alice --quiet)
expect 200 'Hello alice, ' http://127.0.0.1:8080/ -H "Authorization: Bearer $secret"
expect 401 '' http://127.0.0.1:8080/
expect 401 '' http://127.0.0.1:8080/ -H "Authorization: Bearer ${secret}x"
expect 404 '' http://127.0.0.1:8080/v2alpha1/admin/issuedApiKeys
echo "gated"

# Nothing was written outside the volume, and what is in it is its owner's alone.
[ -s volume/data/talos.db ] && [ -s volume/data/caddy/talos/hmac_secret ] || { find volume; exit 1; }
[ -z "$(find volume/data -type f -perm /077 -name '*secret*')" ] || { ls -lR volume; exit 1; }
pid=$(pgrep -f '^/talos run --config /etc/talos/Caddyfile')
grep -E '^(Uid|Gid|CapEff|NoNewPrivs):' "/proc/$pid/status"
grep -q '^CapEff:\s*0000000000000000$' "/proc/$pid/status"
nsenter --mount --target "$pid" grep -E ' / ro[, ]' "/proc/$pid/mountinfo" >/dev/null || { cat "/proc/$pid/mountinfo"; exit 1; }
if grep -F "$secret" run/*.log; then exit 1; fi
echo "read-only and without privileges"

# The Prometheus of compose.yaml finds the gate by its name there.
if [ -n "$PROMETHEUS" ]; then
	sed "s|/etc/prometheus/|$SRC/caddymodule/deploy/prometheus/|; s/15s/1s/" \
		"$SRC/caddymodule/deploy/prometheus/prometheus.yml" >run/prometheus.yml
	"$PROMETHEUS" --config.file=run/prometheus.yml --storage.tsdb.path=run/tsdb >run/prometheus.log 2>&1 &
	until_ok bash -c 'curl -sfG http://prometheus:9090/api/v1/query --data-urlencode "query=up{job=\"talos\"} == 1" | grep -q gate:9180'
	echo "scraped"
fi

# The health check fails when the gate has ended.
kill "$pid"
until_ok bash -c '! kill -0 '"$pid"' 2>/dev/null'
if container "$gate" "$ENV" $HEALTH 2>run/out; then exit 1; fi
echo "all steps done"
