# Starts the units under a systemd of its own. It is process 1 of new namespaces for processes, mounts, network and
# control groups, in a copy of this machine's root that is thrown away at the end. It runs as root.
#
# The test writes to $DIR: talos (the binary), credentials/ (what the units load), and to $SRC the path of this package.
set -euo pipefail
cd "$DIR"

if [ "${1:-}" != boot ]; then
	group=$(findmnt -n -t cgroup2 -o TARGET | head -1)/talos-units-$$
	mkdir -p layers "$group"
	touch check.log console
	(
		echo $BASHPID >"$group/cgroup.procs"
		exec timeout -s KILL 120 unshare --mount --pid --fork --kill-child --net --cgroup --uts --ipc bash "$0" boot
	) </dev/null >boot.log 2>&1 || true
	cat boot.log check.log
	for _ in $(seq 100); do # the last process may still be ending
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.1
	done
	exit
fi

mount --make-rprivate /
mount -t tmpfs tmpfs layers
mkdir layers/upper layers/work layers/root
mount -t overlay overlay -o lowerdir=/,upperdir=layers/upper,workdir=layers/work layers/root
root=$DIR/layers/root

cp talos "$root/usr/local/bin/talos"
chmod 755 "$root/usr/local/bin/talos"
cp "$SRC"/systemd/*.service "$root/etc/systemd/system/"
mkdir -p "$root/etc/talos"
cp -r credentials "$root/etc/talos/credentials"
chmod 700 "$root/etc/talos/credentials"
# Nobody can prove the domain here, so Caddy's own authority signs for it.
sed '0,/^{$/s//{\n\tlocal_certs\n\tskip_install_trust/' "$SRC/systemd/node.caddyfile" >"$root/etc/talos/Caddyfile"
cp "$SRC/systemd/sidecar.caddyfile" "$SRC/container/app.caddyfile" "$root/etc/talos/"
chmod 644 "$root"/etc/talos/*addyfile
printf '127.0.0.1 localhost api.example.com talos.internal\n' >"$root/etc/hosts"
printf '%032d\n' 1 >"$root/etc/machine-id"
for unit in network-online.target systemd-udevd.service systemd-udev-trigger.service systemd-logind.service; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
cat >"$root/etc/systemd/system/app.service" <<-'END'
	[Service]
	Type=notify
	DynamicUser=yes
	StateDirectory=app
	Environment=XDG_DATA_HOME=/var/lib/app XDG_CONFIG_HOME=/var/lib/app
	ExecStart=/usr/local/bin/talos run --config /etc/talos/app.caddyfile
END
cat >"$root/etc/systemd/system/check.service" <<-'END'
	[Unit]
	Wants=app.service talos.service talos-sidecar.service
	After=app.service talos.service talos-sidecar.service
	[Service]
	Type=oneshot
	ExecStart=/bin/bash /check.sh
	ExecStopPost=/bin/systemctl exit 0
	StandardOutput=file:/check.log
	StandardError=file:/check.log
END
cat >"$root/check.sh" <<-'END'
	set -euo pipefail
	trap '[ $? = 0 ] || { systemctl status talos talos-sidecar --no-pager || true; journalctl --no-pager -n 100; }' EXIT
	export HOME=/root
	secret=$(talos keys issue "a key" --actor alice --quiet)
	gated() { # both gates know the key, and refuse a request without one
		for gate in https://api.example.com/ http://127.0.0.1:8080/; do
			curl -sk "$gate" -H "Authorization: Bearer $secret" | grep -q '^Hello alice, '
			[ "$(curl -sk -o /dev/null -w '%{http_code}' "$gate")" = 401 ]
		done
	}
	gated
	systemctl reload talos talos-sidecar
	gated
	for unit in talos talos-sidecar; do
		pid=$(systemctl show -p MainPID --value $unit)
		grep -H -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' "/proc/$pid/status" | sed "s|.*:\(.*:\)|$unit \1|"
		[ "$(stat -c %a "/var/lib/private/$unit")" = 700 ]
	done
	kill -9 "$(systemctl show -p MainPID --value talos)"
	for _ in $(seq 200); do
		[ "$(systemctl show -p NRestarts --value talos)" = 1 ] && systemctl is-active -q talos && break
		sleep 0.1
	done
	gated
	systemctl stop talos talos-sidecar
	systemctl show -p Result --value talos talos-sidecar
	! journalctl --no-pager | grep -F "$secret" || exit 1
	echo "all steps done"
END

ip link set lo up
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for device in null zero full random urandom tty; do
	touch "$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
for file in console:dev/console check.log:check.log; do
	touch "$root/${file#*:}"
	mount --bind "${file%%:*}" "$root/${file#*:}"
done
cd "$root"
mkdir old
pivot_root . old
cd /
umount -l old
mount --make-rshared / # credentials reach a unit by a shared mount
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=check.service \
	--show-status=0 --default-standard-output=journal
