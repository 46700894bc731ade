#!/bin/sh
# Gives a Nomad with ACLs the policies of AIvailable and attaches those of jobs to their workload identities, so that
# no job carries a token. Needs NOMAD_ADDR and the NOMAD_TOKEN of `nomad acl bootstrap`. May be run again.
#
#   apply.sh [--namespace NAME]       default: the namespace default
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
namespace=default

refuse() {
  printf 'apply.sh: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --namespace) [ $# -ge 2 ] || refuse "$1: a value is missing" "the name of a namespace" && namespace=$2 && shift ;;
    *) refuse "$1: not known" "apply.sh --help" ;;
  esac
  shift
done
case $namespace in
  '' | *[!A-Za-z0-9-]*) refuse "--namespace $namespace: not a name" "letters, digits and dashes" ;;
esac
command -v nomad >/dev/null 2>&1 || refuse "nomad is not on PATH" "run this on a node of the cluster"
[ -n "${NOMAD_TOKEN-}" ] || refuse "NOMAD_TOKEN is not set" "nomad acl bootstrap prints the first token, once"

# apply NAME DESCRIPTION [-job ID]: one policy; the file has the name without its prefix.
apply() {
  policy=$1 description=$2
  shift 2
  sed "s/@NAMESPACE@/$namespace/g" "$here/$policy.nomad.hcl" |
    nomad acl policy apply -description "$description" "$@" "aivailable-$policy" - || {
    printf 'apply.sh: Nomad did not take the policy aivailable-%s\n\nhint: %s\n' "$policy" \
      "what it said is above; NOMAD_TOKEN must be a management token" >&2
    exit 1
  }
}

if [ "$namespace" != default ]; then
  nomad namespace apply -description "AIvailable" "$namespace" || exit 1
fi
apply controller "AIvailable: the controllers" -namespace "$namespace" -job aivailable-controller
apply gateway "AIvailable: the gateways" -namespace "$namespace" -job aivailable-gateway
apply open-webui "AIvailable: Open WebUI" -namespace "$namespace" -job aivailable-open-webui
apply engine "AIvailable: engines, all jobs of the namespace" -namespace "$namespace"
apply user "AIvailable: people who deploy"
apply operator "AIvailable: people who run it, beside aivailable-user"

cat <<'TEXT'

Tokens for people:
  nomad acl token create -name alice -policy aivailable-user
  nomad acl token create -name bob -policy aivailable-user -policy aivailable-operator
TEXT
