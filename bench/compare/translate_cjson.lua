-- The same as translate.lua, with every body decoded and encoded again by cjson: the short way to
-- write it. Numbers are rounded to doubles, and an empty array inside a value becomes an object.

local cjson = require "cjson.safe"
local translate = require "translate"

local function encoded_list(list)
  return next(list) == nil and "[]" or cjson.encode(list)
end

local function text(value)
  return type(value) == "string" and value or nil
end

function translate.read(body)
  local call = cjson.decode(body)
  if type(call) ~= "table" then
    return nil
  end
  local parameters = type(call.methodParameters) == "table" and call.methodParameters or {}
  local arguments = parameters.arguments
  return call.method or "", text(parameters.facetName), text(parameters.methodName),
    type(arguments) == "table" and encoded_list(arguments) or nil, text(parameters.sessionId)
end

function translate.legacy(answer, session, seconds)
  local found = cjson.decode(answer)
  if type(found) ~= "table" or not found.status then
    return nil
  end
  local value = ""
  if found.status == "ok" then
    value = ',"returned":' .. (found.returned == nil and "null" or cjson.encode(found.returned))
  elseif found.status == "exception" then
    value = ',"exception":' .. cjson.encode(found.exception)
  end
  return table.concat {
    '{"result":', cjson.encode(found.status), value, ',"special":{"sessionId":',
    session and session ~= "" and cjson.encode(session) or "null",
    ',"logs":', type(found.logs) == "table" and encoded_list(found.logs) or "[]",
    ',"executionDuration":', seconds, "}}",
  }
end

return translate
