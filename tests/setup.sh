#!/bin/sh
# Installs the Debian parts that tests and benchmarks use; the tests skip, with the reason, what is missing.
# Nothing to do where they are there already or where this is no Debian or no root.
set -eu

# command or file that shows it is there, then its package
parts="shellcheck:shellcheck wrk:wrk dig:dnsutils curl:curl openssl:openssl
/usr/sbin/nginx:nginx-light /usr/sbin/haproxy:haproxy iptables:iptables /usr/lib/cni/bridge:containernetworking-plugins
consul:consul chromium:chromium promtool:prometheus"

missing=""
for part in $parts; do
  command -v "${part%%:*}" >/dev/null 2>&1 || missing="$missing ${part#*:}"
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
  echo "tests/setup.sh: cannot install$missing here (needs Debian and root); the tests that use them will be skipped"
  exit 0
fi

# Consul left Debian after bullseye: that suite is added from the source already configured, pinned so low that
# nothing but Consul comes from it.
sources=/etc/apt/sources.list.d/debian.sources
case "$missing" in
  *consul*)
    if [ -f "$sources" ]; then
      sed -n '1,/^$/p' "$sources" | sed 's/^Suites:.*/Suites: bullseye/' >/etc/apt/sources.list.d/bullseye.sources
      printf 'Package: *\nPin: release n=bullseye\nPin-Priority: 50\n' >/etc/apt/preferences.d/bullseye
    else
      echo "tests/setup.sh: no $sources to take the suite bullseye from; Consul's tests will be skipped"
      missing=$(echo "$missing" | sed 's/ consul//')
    fi
    ;;
esac
apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
