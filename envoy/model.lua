-- Which model a request names, into the header x-model, by which routes are chosen. A client that sends that header is
-- believed, and its body is not read. What is not plain to see here is left to Envoy's JSON parser (envoy.lb:model).

local NEAR = 4096     -- bytes in which a key that comes first is looked for
local FAR = 65536     -- bytes of the shorter side of a key that are walked through to see whether it is a top-level key
local NAME = '"([%w._/:-]+)"'

-- How many braces and brackets are open after `text` from `at` to `to`, less those open before; nil in a broken string.
local function depth(text, at, to)
  local open = 0
  while true do
    at = string.find(text, '["{}%[%]]', at)
    if at == nil or at > to then return open end
    local byte = string.byte(text, at)
    if byte == 34 then
      repeat
        at = string.find(text, '["\\]', at + 1)
        if at == nil then return nil end
        if string.byte(text, at) == 92 then at, byte = at + 1, 0 else byte = 34 end
      until byte == 34
    elseif byte == 123 or byte == 91 then
      open = open + 1
    else
      open = open - 1
    end
    at = at + 1
  end
end

-- The value of the only key "model", if it is one of the outermost object and a plain name.
local function only(text)
  local found, first, last
  local from, to = string.find(text, '"model"', 1, true)
  while from do
    local colon = string.match(text, '^%s*:()', to + 1)
    if colon then
      if first then return nil end
      local value, after = string.match(text, '^%s*' .. NAME .. '()', colon)
      if value == nil then return nil end
      found, first, last = value, from, after
    end
    from, to = string.find(text, '"model"', to, true)
  end
  if found == nil or string.match(text, '^%s*{') == nil then return nil end
  local behind = #text - last + 1
  if math.min(first, behind) > FAR then return nil end
  if first <= behind then
    return depth(text, 1, first - 1) == 1 and found or nil
  end
  return depth(text, last, #text) == -1 and found or nil
end

-- A form's field "model": multipart bodies carry files, so the field is looked for by its header.
local function of_form(text)
  local _, to = string.find(text, ' name="model"', 1, true)
  return to and string.match(text, '^[^\r\n]*\r\n\r\n([%w._/:-]+)\r\n', to + 1)
end

function envoy_on_request(request)
  local headers = request:headers()
  if headers:get("x-model") then return end
  local kind = headers:get("content-type")
  if kind == nil then return end
  kind = string.lower(kind)
  local json = string.find(kind, "application/json", 1, true) == 1
  if not json and string.find(kind, "multipart/form-data", 1, true) ~= 1 then return end
  local body = request:body()
  if body == nil then return end
  local size = body:length()
  local model
  if json then
    model = string.match(body:getBytes(0, math.min(size, NEAR)), '^%s*{%s*"model"%s*:%s*' .. NAME)
      or only(body:getBytes(0, size))
  else
    model = of_form(body:getBytes(0, size)) or "__none__"
  end
  if model then
    -- Asked for anew: what was got before a wait for the body may not be used after it.
    request:headers():replace("x-model", model)
    request:clearRouteCache()
  end
end
