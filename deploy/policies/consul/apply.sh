#!/bin/sh
# Gives a Consul with ACLs the policies of AIvailable, and lets it take Nomad's workload identities for tokens, so that
# no job carries one. Needs CONSUL_HTTP_TOKEN of `consul acl bootstrap`. May be run again. README.md says what is next.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
method=nomad-workloads # the name that Nomad's agents ask for unless they are told another

refuse() {
  printf 'apply.sh: %s\n\nhint: %s\n' "$1" "$2" >&2
  exit 2
}

case ${1-} in
  '') ;;
  -h | --help) sed -n '2,3s/^# \{0,1\}//p' "$0" && exit 0 ;;
  *) refuse "$1: not known" "it takes no options" ;;
esac
command -v consul >/dev/null 2>&1 || refuse "consul is not on PATH" "run this on a server of the cluster"
[ -n "${CONSUL_HTTP_TOKEN-}" ] || refuse "CONSUL_HTTP_TOKEN is not set" "consul acl bootstrap prints the first token, once"

say() { printf '%s\n' "$*"; }

# policy NAME: made, or brought up to date.
policy() {
  if consul acl policy read -name "aivailable-$1" >/dev/null 2>&1; then
    consul acl policy update -no-merge -name "aivailable-$1" -rules "@$here/$1.hcl" >/dev/null
  else
    consul acl policy create -name "aivailable-$1" -rules "@$here/$1.hcl" >/dev/null
  fi
  say "policy aivailable-$1"
}

# role NAME: what a binding rule gives to a workload; it has the policy of the same name.
role() {
  consul acl role read -name "aivailable-$1" >/dev/null 2>&1 ||
    consul acl role create -name "aivailable-$1" -policy-name "aivailable-$1" >/dev/null
  say "role aivailable-$1"
}

# bind TYPE NAME SELECTOR: which identities get it; there already, it is left alone.
bind() {
  if ! consul acl binding-rule list -method "$method" | sed -n 's/^ *Selector: *//p' | grep -qxF -- "$3"; then
    consul acl binding-rule create -method "$method" -bind-type "$1" -bind-name "$2" -selector "$3" >/dev/null
  fi
  say "binding rule for $2"
}

for name in controller gateway engine prometheus user operator nomad-agent anonymous; do policy "$name"; done
for name in controller gateway engine prometheus; do role "$name"; done
if consul acl auth-method read -name "$method" >/dev/null 2>&1; then
  consul acl auth-method update -name "$method" -config "@$here/auth-method.json" >/dev/null
else
  consul acl auth-method create -name "$method" -type jwt -config "@$here/auth-method.json" >/dev/null
fi
say "auth method $method"
# Services register themselves under their own names; tasks get what their job is for.
# shellcheck disable=SC2016 # Consul fills in ${value…}
bind service '${value.nomad_service}' '"nomad_service" in value'
bind role aivailable-controller '"nomad_service" not in value and value.nomad_job_id == "aivailable-controller"'
bind role aivailable-gateway '"nomad_service" not in value and value.nomad_job_id == "aivailable-gateway"'
bind role aivailable-prometheus '"nomad_service" not in value and value.nomad_job_id == "aivailable-prometheus"'
bind service llm-engine '"nomad_service" not in value and value.nomad_job_id matches "^llm-" and value.nomad_task == "mesh"'
bind role aivailable-engine '"nomad_service" not in value and value.nomad_job_id matches "^llm-"'
consul acl token update -id anonymous -merge-policies -policy-name aivailable-anonymous >/dev/null
say "DNS answers llm.service.consul without a token"
