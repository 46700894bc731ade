-- After Envoy's JSON parser: the model it found, into the header x-model; not run where that is there. Whatever a client
-- calls a model gets into a header as it is or percent-encoded.

local LENGTH = 256

function envoy_on_request(request)
  local parsed = request:streamInfo():dynamicMetadata():get("envoy.lb")
  local model = parsed and parsed["model"]
  if model == nil or model == "" then return end
  model = string.gsub(string.sub(model, 1, LENGTH), "[^%w%-._/:]", function(character)
    return string.format("%%%02X", string.byte(character))
  end)
  request:headers():replace("x-model", model)
  request:clearRouteCache()
end
