#!/bin/sh
# Makes this host a node of an AIvailable cluster: Nomad, Consul, the device plugin, `aivailable` and Envoy.
# Run again with the same options it changes nothing, with others only what differs. `node.sh --help` says the rest.
# shellcheck disable=SC1091,SC2034 # lib.sh lies beside it and uses the variables; tests/deploy checks both as one
set -eu
LC_ALL=C
export LC_ALL
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=deploy/lib.sh
. "$here/lib.sh"

usage() {
  cat <<'TEXT'
Makes this host a node of an AIvailable cluster, as root. Nomad and Consul must be installed (not running).

  node.sh --server [--servers N]             a server: it keeps the cluster's state; one, three or five of them
  node.sh --client --join ADDRESS            a node with cards; --server --client together make it both
  node.sh reslice --slice-mib N              drain this node, cut its cards anew, take it back
  node.sh leave                              drain this node, stop Nomad and Consul, remove what node.sh wrote

  --join ADDRESS          of a server; repeat it for each. A lone server needs none
  --bind ADDRESS|DEVICE   this host's address in the cluster, or the network device that has it; default: the device
                          of the default route
  --name NAME             default: this host's name
  --class C, --rack R     what `where = { class = "C" }` and failure domains go by
  --datacenter D          default: dc1
  --simulated FILE        cards from FILE instead of real ones; engines then run on the CPU
  --node NAME             which node of that FILE this is; default: --name
  --slice-mib N           256, 512 (default) or 1024; the same on all nodes
  --package SPEC          what pip installs; default: the checkout that this script lies in
  --upgrade               install the package anew although it is there
  --nomad-binary FILE, --consul-binary FILE    copied to /usr/local/bin; default: those on PATH
  --open-api              HTTP APIs of Nomad and Consul on --bind too, not on loopback only. Without ACLs whoever
                          reaches them is root on every node
  --acl, --consul-acl     Nomad, Consul ask for tokens (deploy/policies); not turned off by leaving it out
  --deadline D            how long a drain waits for what runs here to finish, e.g. 10m (default)
  --force                 reslice, leave: also when engines run here, which then fail to answer for a while. Without it
                          `aivailable drain NAME` comes first
  --root DIR              write below DIR, for an image: starts nothing, installs no package
  --dry-run               say what would be done, change nothing
TEXT
}

action=make root='' dry_run='' server='' client='' servers=1 join='' bind='' name='' class='' rack='' datacenter=dc1
simulated='' node='' slice_mib='' package='' upgrade='' nomad_binary='' consul_binary='' open_api='' acl=''
consul_acl='' deadline=10m force=''

case ${1-} in
  reslice | leave) action=$1 && shift ;;
  make) shift ;;
esac
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage && exit 0 ;;
    --server) server=1 ;;
    --client) client=1 ;;
    --upgrade) upgrade=1 ;;
    --force) force=1 ;;
    --open-api) open_api=1 ;;
    --acl) acl=1 ;;
    --consul-acl) consul_acl=1 ;;
    --dry-run) dry_run=1 ;;
    --servers | --join | --bind | --name | --class | --rack | --datacenter | --simulated | --node | --slice-mib | \
      --package | --nomad-binary | --consul-binary | --deadline | --root)
      [ -n "${2-}" ] || refuse "$1: a value is missing" "node.sh --help"
      case $1 in
        --servers) servers=$2 ;;
        --join) join="$join $(checked_host --join "$2")" || exit 2 ;;
        --bind) bind=$2 ;;
        --name) name=$2 ;;
        --class) class=$2 ;;
        --rack) rack=$2 ;;
        --datacenter) datacenter=$2 ;;
        --simulated) simulated=$2 ;;
        --node) node=$2 ;;
        --slice-mib) slice_mib=$2 ;;
        --package) package=$2 ;;
        --nomad-binary) nomad_binary=$2 ;;
        --consul-binary) consul_binary=$2 ;;
        --deadline) deadline=$2 ;;
        --root) root=$2 ;;
      esac
      shift
      ;;
    *) refuse "$1: not known" "node.sh --help lists the options" ;;
  esac
  shift
done

check_options() {
  case $servers in 1 | 3 | 5 | 7) ;; *) refuse "--servers $servers: not a number of servers that can outvote one" \
    "use 1, 3 or 5" ;; esac
  case $slice_mib in '' | 256 | 512 | 1024) ;; *) refuse "--slice-mib $slice_mib: no such size" \
    "use 256, 512 or 1024, the same on all nodes" ;; esac
  case $deadline in
    *[!0-9smh]* | [!0-9]* | *[0-9]) refuse "--deadline $deadline: not a time" "e.g. 90s, 10m, 1h" ;;
  esac
  if [ -n "$root" ]; then
    case $root in /*) ;; *) root=$PWD/$root ;; esac
    [ -d "$root" ] || refuse "--root $root: no such folder" "make it first"
    root=${root%/}
    if [ "$action" != make ]; then refuse "$action works on a living node" "leave --root out"; fi
    if [ -z "$bind" ] || [ -z "$name" ]; then
      refuse "--root: name and address of the host that will run it are not known here" "give --name and --bind ADDRESS"
    fi
  fi
  if [ -z "$root$dry_run" ] && [ "$(id -u)" -ne 0 ]; then
    refuse "only root can make this host a node" "sudo $0 …, or --dry-run to see what it would do"
  fi
}

check_node_options() {
  [ -n "$server$client" ] || refuse "neither --server nor --client" "say what this host will be; node.sh --help"
  [ -n "$server$join" ] || refuse "--client: no server to join" "--join ADDRESS of a server, once for each"
  [ -n "$client" ] || [ -z "$simulated$class$rack" ] || refuse "--class, --rack and --simulated are for --client" \
    "a server alone has no cards"
  name=$(checked_word --name "${name:-$(uname -n)}") || exit 2
  datacenter=$(checked_word --datacenter "$datacenter") || exit 2
  [ -z "$class" ] || class=$(checked_word --class "$class") || exit 2
  [ -z "$rack" ] || rack=$(checked_word --rack "$rack") || exit 2
  address=$(own_address "$bind") || exit 2
  if [ -n "$simulated" ]; then
    [ -f "$simulated" ] || refuse "--simulated $simulated: no such file" "e.g. $here/../examples/demo-inventory.toml"
    node=$(checked_word --node "${node:-$name}") || exit 2
    grep -Eq "^[[:space:]]*name[[:space:]]*=[[:space:]]*[\"']${node}[\"'][[:space:]]*(#.*)?\$" "$simulated" ||
      refuse "--node $node: $simulated has no such node" "give a name out of that file"
  elif [ -n "$node" ]; then
    refuse "--node goes with --simulated" "--name is this host's name in the cluster"
  fi
  [ -n "$package" ] || package=$(own_package "$here/.." "$simulated") || exit 2
  case $package in -* | *[!A-Za-z0-9._/+=\<\>~!@,:\[\]-]*) refuse "--package $package: not a requirement" \
    "a path, a wheel or NAME==VERSION, with [cluster] behind it" ;; esac
}

write_node() {
  inventories='"nvidia", "amd"' inventory=''
  if [ -n "$simulated" ]; then
    inventories='"simulated"' inventory=/etc/aivailable/inventory.toml
    cp "$simulated" "$scratch/new" && put 644 "$inventory"
  fi
  cni=$(cni_folder)
  [ -z "$client" ] || [ -x "$root/usr/bin/curl" ] ||
    say "note: no /usr/bin/curl here; engines in a mesh are checked by it" >&2
  everywhere="127.0.0.1 $address" http=127.0.0.1
  [ "$address" != 127.0.0.1 ] || everywhere=127.0.0.1
  [ -z "$open_api" ] || http=$everywhere
  # A node that was cut otherwise by `reslice` stays so.
  slice_mib=${slice_mib:-$(present_slice_mib)}

  put_filled 644 nomad.hcl /etc/aivailable/nomad.d/aivailable.hcl
  put_filled 644 consul.hcl /etc/aivailable/consul.d/aivailable.hcl
  put_if "$server" nomad-server.hcl /etc/aivailable/nomad.d/aivailable-server.hcl
  put_if "$server" consul-server.hcl /etc/aivailable/consul.d/aivailable-server.hcl
  put_if "$client" nomad-client.hcl /etc/aivailable/nomad.d/aivailable-client.hcl
  [ -z "$acl" ] || put_filled 644 nomad-acl.hcl /etc/aivailable/nomad.d/aivailable-acl.hcl
  if [ -n "$consul_acl" ]; then
    put_filled 644 consul-acl.hcl /etc/aivailable/consul.d/aivailable-acl.hcl
    put_filled 644 nomad-consul-acl.hcl /etc/aivailable/nomad.d/aivailable-consul-acl.hcl
  fi
  put_filled 644 nomad.service /etc/systemd/system/nomad.service
  put_filled 644 consul.service /etc/systemd/system/consul.service
  put_filled 644 sysusers.conf /etc/sysusers.d/aivailable.conf
  if [ -n "$client" ]; then
    put_filled 755 aivailable-gpu /usr/local/lib/aivailable/plugins/aivailable-gpu
    put_filled 644 modules.conf /etc/modules-load.d/aivailable.conf
    put_filled 644 sysctl.conf /etc/sysctl.d/60-aivailable.conf
    folder 755 /var/lib/aivailable/models
    folder 755 /var/lib/aivailable/gpu
  fi
  for program in aivailable aivailable-gpu aivailable-llamacpp envoy; do
    link "/opt/aivailable/bin/$program" "/usr/local/bin/$program"
  done
}

make_node() {
  check_node_options
  refuse_what_books_twice
  refuse_a_foreign_service nomad
  refuse_a_foreign_service consul
  nomad=$(program nomad "$nomad_binary") || exit 2
  consul=$(program consul "$consul_binary") || exit 2
  copied "$nomad_binary" /usr/local/bin/nomad
  copied "$consul_binary" /usr/local/bin/consul
  install_package
  write_node
  if systemd_runs; then
    validate_configuration
    start_services
  fi
  if [ -z "$changes" ]; then
    say "nothing to change: $name is a node already"
  elif [ -n "$dry_run" ]; then
    say "nothing was changed (--dry-run)"
  elif ! systemd_runs; then
    say "files are in place. systemd does not run here, so nothing was started; where it does:"
    say "  systemctl enable --now consul nomad"
  else
    next_steps
  fi
}

# Slices are known to Nomad by number only: cut anew under a running engine, memory would be booked twice.
reslice() {
  this='' # the node's name, by drain
  [ -n "$slice_mib" ] || refuse "reslice: to which size?" "--slice-mib 256, 512 or 1024"
  file=/etc/aivailable/nomad.d/aivailable-client.hcl
  [ -f "$file" ] || refuse "this host is no node with cards: $file is not there" "node.sh --client --join ADDRESS"
  if [ "$(present_slice_mib)" = "$slice_mib" ]; then
    say "nothing to change: slices have $slice_mib MiB already"
    return 0
  fi
  if [ -n "$dry_run" ]; then
    say "would drain this node (at most $deadline), stop Nomad, set $slice_mib MiB, start it, take the node back"
    return 0
  fi
  eligible=$(nomad node status -self -t '{{.SchedulingEligibility}}' 2>/dev/null) || eligible=''
  drain
  run systemctl stop nomad
  sed "s/^\( *slice_mib *= *\)[0-9]*/\1$slice_mib/" "$file" >"$scratch/new" && put 644 "$file"
  rm -f /var/lib/aivailable/gpu/slices.json
  run systemctl start nomad
  wait_for_nomad
  say "slices have $slice_mib MiB now; every node must have the same"
  if [ "$eligible" = ineligible ]; then
    run nomad node drain -self -disable -keep-ineligible -yes
    say "it took no work before and takes none now: 'aivailable undrain $this'"
  else
    run nomad node drain -self -disable -yes
  fi
}

leave() {
  [ -f /etc/aivailable/nomad.d/aivailable.hcl ] || refuse "this host is no node: nothing of node.sh is here" \
    "node.sh --dry-run … shows what it would write"
  if [ -n "$dry_run" ]; then
    say "would drain this node (at most $deadline), stop Nomad and Consul, and remove what node.sh wrote"
    return 0
  fi
  if [ -f /etc/aivailable/nomad.d/aivailable-client.hcl ] && nomad_answers; then drain; fi
  run systemctl disable --now nomad
  consul leave >/dev/null 2>&1 || say "Consul does not answer: its servers forget this node within 72 h"
  run systemctl disable --now consul
  rm -f /etc/aivailable/nomad.d/aivailable*.hcl /etc/aivailable/consul.d/aivailable*.hcl /etc/sysusers.d/aivailable.conf
  rm -f /etc/modules-load.d/aivailable.conf /etc/sysctl.d/60-aivailable.conf /etc/aivailable/inventory.toml
  rm -f /etc/systemd/system/nomad.service /etc/systemd/system/consul.service
  rm -rf /usr/local/lib/aivailable /opt/aivailable /var/lib/aivailable/gpu
  for program in aivailable aivailable-gpu aivailable-llamacpp envoy; do
    case $(readlink "/usr/local/bin/$program" || true) in
      /opt/aivailable/*) rm -f "/usr/local/bin/$program" ;;
    esac
  done
  run systemctl daemon-reload
  say "this host is no node any more. Kept: the models in /var/lib/aivailable/models, and the agents' data in"
  say "/var/lib/nomad and /var/lib/consul; remove them when you are sure"
}

check_options
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
changes='' changed_nomad='' changed_consul='' changed_units='' changed_kernel=''
case $action in
  make) make_node ;;
  reslice) reslice ;;
  leave) leave ;;
esac
