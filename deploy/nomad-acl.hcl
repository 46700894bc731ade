# Nomad asks for tokens. Written by deploy/node.sh --acl; deploy/policies/apply.sh makes the policies.
acl {
  enabled = true
}
