# For engines, by their workload identities: the model hub's token, which brings gated models, and nothing else. A job
# reads what lies below nomad/jobs/ and its own id without any policy; nothing of ours lies there.
#
# Engines have changing job ids, and Nomad attaches policies to one job or to a namespace: this one is attached to the
# namespace, so give AIvailable a namespace of its own where other people's jobs run too.
namespace "@NAMESPACE@" {
  variables {
    # With a star, because Nomad lets the exact path of another policy win over it: so controllers and gateways are
    # kept out.
    path "aivailable/hub*" {
      capabilities = ["list", "read"]
    }
  }
}
