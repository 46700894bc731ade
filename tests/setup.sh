#!/bin/sh
# Installs the Debian parts that tests and benchmarks use; the tests skip, with the reason, what is missing.
# Nothing to do where they are there already or where this is no Debian or no root.
set -eu

packages="shellcheck wrk"

missing=""
for package in $packages; do
  command -v "$package" >/dev/null 2>&1 || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ]; then
  echo "tests/setup.sh: cannot install$missing here (needs Debian and root); the tests that use them will be skipped"
  exit 0
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
