# shellcheck shell=sh
# shellcheck disable=SC2154 # node.sh sets the variables of its options
# What node.sh is made of: checks of values, files that are written only when they differ, services.

say() { printf '%s\n' "$*"; }

# refuse MESSAGE HINT: the user must change something.
refuse() {
  printf 'node.sh: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 2
}

# fail MESSAGE HINT: something did not work.
fail() {
  printf 'node.sh: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

run() { "$@" || fail "this failed: $*" "what it said is above; node.sh may be run again"; }

# Values go into files by sed and from there to Nomad: each is held to a charset that means nothing to either.
checked_word() {
  case $2 in
    '' | [!A-Za-z0-9]* | *[!A-Za-z0-9._-]*) refuse "$1 $2: not a name" "letters, digits, dots and dashes" ;;
  esac
  [ "${#2}" -le 63 ] || refuse "$1 $2: longer than 63 characters" "choose a shorter one"
  printf '%s' "$2"
}

is_ipv4() {
  case $1 in *[!0-9.]* | *..* | .* | *.) return 1 ;; esac
  # shellcheck disable=SC2086 # split at the dots
  (IFS=. && set -- $1 && [ $# -eq 4 ] && for part; do [ "${#part}" -le 3 ] && [ "$part" -le 255 ] || exit 1; done)
}

checked_host() {
  case $2 in
    *:*) refuse "$1 $2: IPv6 addresses and ports are not taken" "an IPv4 address or a name" ;;
    *[!0-9.]*) checked_word "$1" "$2" ;;
    *)
      is_ipv4 "$2" || refuse "$1 $2: not an address" "an IPv4 address or a name"
      printf '%s' "$2"
      ;;
  esac
}

# own_address ADDRESS|DEVICE: this host's address in the cluster.
own_address() {
  if is_ipv4 "$1"; then
    case $1 in 0.*) refuse "--bind $1: not one host's address" "that by which other nodes reach this host" ;; esac
    printf '%s' "$1"
    return
  fi
  case $1 in *[!A-Za-z0-9._-]*) refuse "--bind $1: neither IPv4 address nor network device" "see: ip -br addr" ;; esac
  [ -z "$root" ] || refuse "--bind $1: devices of another host are not known here" "give its address"
  device=$1
  if [ -z "$device" ]; then
    device=$(ip -4 -o route show default 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | sed -n 1p)
    [ -n "$device" ] || refuse "no default route tells this host's address" "give --bind ADDRESS or --bind DEVICE"
  fi
  found=$(ip -4 -o addr show dev "$device" 2>/dev/null | sed -n 's/.* inet \([0-9.]*\).*/\1/p' | sed -n 1p)
  [ -n "$found" ] || refuse "--bind $device: no such network device, or one without an IPv4 address" "see: ip -br addr"
  printf '%s' "$found"
}

# own_package FOLDER SIMULATED: the checkout itself. A name alone would bring whatever a registry has under it.
own_package() {
  [ -f "$1/pyproject.toml" ] || refuse "no checkout around this script" "--package 'PATH_OF_A_WHEEL[cluster]'"
  extras=cluster
  [ -z "$2" ] || extras=cluster,demo # engines on simulated cards are a llama.cpp for the CPU
  printf '%s[%s]' "$(CDPATH='' cd -- "$1" && pwd)" "$extras"
}

# program NAME FILE: the path that units start; FILE is going to be copied there.
program() {
  if [ -n "$2" ]; then
    if [ ! -f "$2" ] || [ ! -x "$2" ]; then refuse "--$1-binary $2: not a program" "the unpacked binary of $1"; fi
    printf '/usr/local/bin/%s' "$1"
    return
  fi
  for folder in /usr/local/bin /usr/bin /bin /usr/local/sbin /usr/sbin; do
    [ ! -x "$root$folder/$1" ] || { printf '%s/%s' "$folder" "$1" && return; }
  done
  refuse "$1 is not installed" "install the package \`$1\` from its vendor's repository (HashiCorp's, for Debian, \
Ubuntu, RHEL and Fedora), or give --$1-binary FILE"
}

cni_folder() {
  for folder in /opt/cni/bin /usr/lib/cni /usr/libexec/cni; do
    [ ! -x "$root$folder/bridge" ] || { printf '%s' "$folder" && return; }
  done
  [ -z "$client" ] || say "note: no CNI plugins here: engines will listen on the host's loopback, not in a network of \
their own; the package is containernetworking-plugins" >&2
  printf /opt/cni/bin
}

# Two plugins that publish the same cards would give out the same memory twice.
refuse_what_books_twice() {
  [ -n "$client" ] || return 0
  for folder in /etc/aivailable/nomad.d /etc/nomad.d; do
    [ -d "$root$folder" ] || continue
    found=$(grep -rlE \
      '^[[:space:]]*([^#/[:space:]].*)?"?(nvidia-gpu|nomad-device-nvidia)"?[[:space:]]*[:{]' "$root$folder" | sed -n 1p)
    [ -z "$found" ] || refuse "$found configures HashiCorp's plugin nvidia-gpu: cards would be booked twice" \
      "remove that plugin block; AIvailable's plugin publishes the same cards in slices"
  done
  for file in "$root"/usr/local/lib/aivailable/plugins/*; do
    case ${file##*/} in
      '*' | aivailable-gpu) ;;
      *nvidia*) refuse "$file lies beside AIvailable's plugin: cards would be booked twice" "remove it" ;;
    esac
  done
}

refuse_a_foreign_service() {
  unit=$root/etc/systemd/system/$1.service
  [ -f "$unit" ] || unit=''
  if [ -n "$unit" ] && grep -q "AIvailable's deploy/node.sh" "$unit"; then return 0; fi
  if [ -n "$unit" ] || { systemd_runs && systemctl is-active --quiet "$1"; }; then
    refuse "this host has a $1 service of its own" "node.sh brings one: \`systemctl disable --now $1\` and remove \
${unit:-its unit} first; to extend a cluster that you run yourself, take over deploy/nomad-client.hcl by hand"
  fi
}

# changed PATH: note what must be restarted.
changed() {
  changes="$changes $1"
  case $1 in
    */nomad.d/* | */plugins/* | */nomad.service | */bin/nomad | */inventory.toml) changed_nomad=1 ;;
    */consul.d/* | */consul.service | */bin/consul) changed_consul=1 ;;
  esac
  case $1 in
    /etc/systemd/*) changed_units=1 ;;
    /etc/sysctl.d/*) changed_kernel=1 ;;
  esac
}

# put MODE PATH: $scratch/new becomes PATH, in one step, if it differs.
put() {
  if cmp -s "$scratch/new" "$root$2" && [ "$(stat -c %a "$root$2")" = "$1" ]; then return 0; fi
  changed "$2"
  if [ -n "$dry_run" ]; then say "would write $2" && return 0; fi
  mkdir -p "$root${2%/*}"
  if ! cp "$scratch/new" "$root$2.new" || ! chmod "$1" "$root$2.new" || ! mv -f "$root$2.new" "$root$2"; then
    fail "cannot write $root$2" "is there room, and is it writable?"
  fi
  say "wrote $2"
}

# copied FILE PATH: a program given by hand.
copied() {
  [ -n "$1" ] || return 0
  cp "$1" "$scratch/new" || fail "cannot copy $1" "is there room in the temporary folder?"
  put 755 "$2"
}

# put_filled MODE TEMPLATE PATH: the file of that name beside this script, with its @WORDS@ filled in.
put_filled() {
  list=$(for host in $join; do printf '"%s", ' "$host"; done)
  sed -e "s|@NAME@|$name|g" -e "s|@DATACENTER@|$datacenter|g" -e "s|@ADDRESS@|$address|g" -e "s|@JOIN@|${list%, }|g" \
    -e "s|@SERVERS@|$servers|g" -e "s|@CLASS@|$class|g" -e "s|@RACK@|$rack|g" -e "s|@CNI@|$cni|g" \
    -e "s|@INVENTORIES@|$inventories|g" -e "s|@SIMULATED@|$inventory|g" -e "s|@NODE@|$node|g" \
    -e "s|@SLICE_MIB@|$slice_mib|g" -e "s|@NOMAD@|$nomad|g" -e "s|@CONSUL@|$consul|g" \
    -e "s|@HTTP@|$http|g" -e "s|@DNS@|$everywhere|g" "$here/$2" >"$scratch/new"
  put "$1" "$3"
}

# put_if CONDITION TEMPLATE PATH: a part that this host has, or has no more.
put_if() {
  if [ -n "$1" ]; then put_filled 644 "$2" "$3" && return 0; fi
  [ -f "$root$3" ] || return 0
  changed "$3"
  if [ -n "$dry_run" ]; then say "would remove $3" && return 0; fi
  rm -f "$root$3"
  say "removed $3"
}

folder() {
  [ ! -d "$root$2" ] || return 0
  changed "$2"
  if [ -n "$dry_run" ]; then say "would make $2" && return 0; fi
  mkdir -p "$root$2"
  chmod "$1" "$root$2"
  say "made $2"
}

link() {
  [ "$(readlink "$root$2" || true)" != "$1" ] || return 0
  [ -L "$root$2" ] || [ ! -e "$root$2" ] || refuse "$2 is there and not ours" "move it away"
  changed "$2"
  if [ -n "$dry_run" ]; then say "would link $2" && return 0; fi
  mkdir -p "$root${2%/*}"
  ln -sfn "$1" "$root$2"
  say "linked $2"
}

present_slice_mib() {
  file=$root/etc/aivailable/nomad.d/aivailable-client.hcl
  size=$(sed -n 's/^ *slice_mib *= *\([0-9]*\).*/\1/p' "$file" 2>/dev/null | sed -n 1p)
  printf '%s' "${size:-512}"
}

install_package() {
  [ -z "$root" ] || return 0
  noted=/opt/aivailable/node.package
  if [ -z "$upgrade" ] && [ -x /opt/aivailable/bin/aivailable ] && [ "$(cat "$noted" 2>/dev/null)" = "$package" ]; then
    return 0
  fi
  python=''
  for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    python=$candidate
    break
  done
  [ -n "$python" ] || refuse "no Python 3.11 or later here" "install the package python3.11 or a later one, with venv"
  changed "$noted" && changed_nomad=1
  if [ -n "$dry_run" ]; then say "would install $package into /opt/aivailable" && return 0; fi
  say "installing $package into /opt/aivailable (about 300 MB) …"
  [ -x /opt/aivailable/bin/pip ] || "$python" -m venv /opt/aivailable ||
    fail "cannot make a virtual environment" "Debian and Ubuntu: install the package python3-venv"
  again=''
  [ -z "$upgrade" ] || again=--upgrade
  # shellcheck disable=SC2086 # an option or nothing
  /opt/aivailable/bin/pip install --quiet --disable-pip-version-check $again "$package" ||
    fail "pip could not install $package" "its words are above; --package takes a path, a wheel or NAME==VERSION"
  printf '%s\n' "$package" >"$noted"
}

systemd_runs() { [ -z "$root" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }

validate_configuration() {
  [ -z "$dry_run" ] || return 0
  "$nomad" config validate /etc/aivailable/nomad.d >"$scratch/said" 2>&1 ||
    fail "Nomad does not take its configuration: $(cat "$scratch/said")" "files in /etc/aivailable/nomad.d"
  "$consul" validate /etc/aivailable/consul.d >"$scratch/said" 2>&1 ||
    fail "Consul does not take its configuration: $(cat "$scratch/said")" "files in /etc/aivailable/consul.d"
}

start_services() {
  [ -z "$dry_run" ] || return 0
  if [ -n "$changed_units" ]; then
    run systemd-sysusers /etc/sysusers.d/aivailable.conf
    run systemctl daemon-reload
  fi
  if [ -n "$changed_kernel" ]; then
    # Only sidecars need these; a kernel without them still runs engines.
    if ! modprobe br_netfilter 2>/dev/null || ! sysctl -q -p /etc/sysctl.d/60-aivailable.conf; then
      say "note: the kernel has no br_netfilter; a mesh on the bridge will not work" >&2
    fi
  fi
  start_service consul "$changed_consul"
  start_service nomad "$changed_nomad"
}

# start_service NAME CHANGED: enable it, start it, restart it after a change, and see that it lives.
start_service() {
  systemctl is-enabled --quiet "$1" || run systemctl enable --quiet "$1"
  if [ -n "$2" ] || ! systemctl is-active --quiet "$1"; then
    say "starting $1 …"
    changes="$changes $1"
    run systemctl restart "$1"
    begun=$(systemctl show -p MainPID "$1")
    sleep 4 # an agent that does not like what it finds ends within a second or two, and systemd starts it again
    if ! systemctl is-active --quiet "$1" || [ "$(systemctl show -p MainPID "$1")" != "$begun" ]; then
      fail "$1 does not stay up" "journalctl -u $1 -n 30 says why"
    fi
  fi
}

nomad_answers() { nomad operator api /v1/status/leader >/dev/null 2>&1; }

wait_for_nomad() {
  left=60
  until nomad node status -self >/dev/null 2>&1; do
    left=$((left - 1))
    [ "$left" -gt 0 ] ||
      fail "Nomad does not answer after 60 s" "journalctl -u nomad -n 30; then: nomad node drain -self -disable"
    sleep 1
  done
}

# engines_here NODE: how many of AIvailable's engines hold something of it; nothing where Nomad does not say.
engines_here() {
  living='(ClientStatus == "pending" or ClientStatus == "running")'
  nomad operator api -filter "NodeName == \"$1\" and JobID matches \"^llm-\" and $living" \
    '/v1/allocations?namespace=*' | grep -o '"JobID":"llm-[^"]*"' | sort -u | wc -l
}

drain() {
  this=$(nomad node status -self -t '{{.Name}}' 2>/dev/null) || this=''
  engines=$(engines_here "$this") || engines=0
  if [ "$engines" -gt 0 ] && [ -z "$force" ]; then
    refuse "engines run here ($engines); Nomad's own drain stops each before another one serves" \
      "'aivailable drain $this' first, which moves them without a gap; or --force"
  fi
  say "draining this node: what runs here is started elsewhere, at most $deadline …"
  nomad node drain -self -enable -deadline "$deadline" -yes ||
    fail "the node could not be drained" "is NOMAD_TOKEN set where ACLs are on, and NOMAD_ADDR with --open-api?"
}

next_steps() {
  say "$name is a node now ($address)."
  [ -z "$server" ] || say "next: run node.sh --client --join $address on each host with cards; then here: aivailable up"
  [ -z "$acl" ] || say "with ACLs: nomad acl bootstrap, once; then deploy/policies/apply.sh"
}
