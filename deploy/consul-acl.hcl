# Consul asks for tokens. Written by deploy/node.sh --consul-acl; deploy/policies/README.md says what comes next.
acl {
  enabled                  = true
  default_policy           = "deny"
  enable_token_persistence = true
}
