-- A legacy call into a modern one and its answer back, as phases of one nginx location.
--
-- Values pass byte for byte: they are never decoded, only stepped over. A string is left by a
-- search for its quote, which LuaJIT compiles to a scan of memory; cjson decodes only the short
-- strings that have escapes. Admission, limits, tracing and metrics are not here.

local byte, find, sub, concat = string.byte, string.find, string.sub, table.concat
local type = type
local cjson = require "cjson.safe"
local QUOTE, COMMA, COLON, BACKSLASH = 34, 44, 58, 92
local ARRAY, ARRAY_END, OBJECT, OBJECT_END = 91, 93, 123, 125

local translate = {}

local function space(text, at)
  local code = byte(text, at)
  while code == 32 or code == 10 or code == 13 or code == 9 do
    at = at + 1
    code = byte(text, at)
  end
  return at, code
end

-- What follows the string that begins at `at`, or nil.
local function past_string(text, at)
  local quote = find(text, '"', at + 1, true)
  while quote do
    local before = quote - 1
    while byte(text, before) == BACKSLASH do
      before = before - 1
    end
    if (quote - before) % 2 == 1 then
      return quote + 1
    end
    quote = find(text, '"', quote + 1, true)
  end
end

-- What follows the value that begins at `at`, or nil.
local function past_value(text, at)
  local code = byte(text, at)
  if code == QUOTE then
    return past_string(text, at)
  end
  if code == ARRAY or code == OBJECT then
    local depth = 0
    repeat
      code = byte(text, at)
      if code == QUOTE then
        at = past_string(text, at)
        if not at then
          return nil
        end
      else
        if code == ARRAY or code == OBJECT then
          depth = depth + 1
        elseif code == ARRAY_END or code == OBJECT_END then
          depth = depth - 1
        elseif not code then
          return nil
        end
        at = at + 1
      end
    until depth == 0
    return at
  end
  local from = at
  while code and code ~= COMMA and code ~= OBJECT_END and code ~= ARRAY_END and code > 32 do
    at = at + 1
    code = byte(text, at)
  end
  return at > from and at or nil
end

-- The wanted members of the object at `at`, as they are written, into `found`. Where `wanted` names
-- a table, the member is an object whose members are looked for. Returns what follows, or nil.
local function members(text, at, wanted, found)
  local code
  at, code = space(text, at)
  if code ~= OBJECT then
    return nil
  end
  at, code = space(text, at + 1)
  if code == OBJECT_END then
    return at + 1
  end
  while code == QUOTE do
    local from = at
    at = past_string(text, from)
    if not at then
      return nil
    end
    local want = wanted[sub(text, from + 1, at - 2)]
    at, code = space(text, at)
    if code ~= COLON then
      return nil
    end
    from = space(text, at + 1)
    if type(want) == "table" then
      at = members(text, from, want, found)
    else
      at = past_value(text, from)
      if want and at then
        found[want] = sub(text, from, at - 1)
      end
    end
    if not at then
      return nil
    end
    at, code = space(text, at)
    if code == OBJECT_END then
      return at + 1
    end
    if code ~= COMMA then
      return nil
    end
    at, code = space(text, at + 1)
  end
end

-- The text of a JSON string, or nil where it is none.
local function decoded(json)
  if not json or byte(json) ~= QUOTE then
    return nil
  end
  if not find(json, "\\", 1, true) then
    return sub(json, 2, -2)
  end
  return cjson.decode(json)
end

local function refuse(number, message)
  ngx.status = 400
  ngx.header["Content-Type"] = "application/json"
  ngx.header["X-Unisave-Worker-Error"] = "true"
  ngx.ctx.passes = true
  ngx.print('{"statusCode":400,"error":true,"errorNumber":', number, ',"errorMessage":"', message,
    '"}')
  return ngx.exit(400)
end

local OPENING = '{"arguments":'
local CALL = {
  method = "kind",
  methodParameters = {
    facetName = "facet", methodName = "method", arguments = "arguments", sessionId = "session",
  },
}
local ANSWER = { status = "status", returned = "returned", exception = "exception", logs = "logs" }
local NAME = [[^(?!\.\.?$)[\w.+`-]{1,1024}$]]

local function is_name(text)
  return text and ngx.re.find(text, NAME, "jo")
end

-- Of a body its method, facet, method of the facet, arguments as JSON, and session.
function translate.read(body)
  local call = {}
  local past = members(body, 1, CALL, call)
  if past and space(body, past) > #body then
    return decoded(call.kind) or "", decoded(call.facet), decoded(call.method), call.arguments,
      decoded(call.session)
  end
end

function translate.call()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  local kind, facet, method, arguments, session = translate.read(body or "")
  if not kind then
    return refuse(1100, "the body isn't a JSON object")
  end
  if kind ~= "facet-call" then
    return refuse(1101, "method isn't facet-call")
  end
  if not (is_name(facet) and is_name(method) and arguments and byte(arguments) == ARRAY) then
    return refuse(1102, "facetName, methodName or arguments can't be used")
  end
  if session and session ~= "" then
    ngx.var.session = concat { "unisave_session_id=", ngx.escape_uri(session), ";" }
  end
  ngx.req.set_uri(concat { "/", facet, "/", method })
  -- Put together in nginx's buffer: a string of the whole would be another copy.
  ngx.req.init_body(#arguments + #OPENING + 1)
  ngx.req.append_body(OPENING)
  ngx.req.append_body(arguments)
  ngx.req.append_body("}")
  ngx.req.finish_body()
  ngx.ctx.began = ngx.now()
end

-- The session of one Set-Cookie, or nil.
local function session_of(cookie)
  local from, to = find(cookie, "unisave_session_id=", 1, true)
  if from then
    local past = find(cookie, ";", to, true)
    return ngx.unescape_uri(sub(cookie, to + 1, past and past - 1))
  end
end

function translate.head()
  local context = ngx.ctx
  if context.passes or ngx.status ~= 200 then
    context.passes = true
    return
  end
  local headers = ngx.header
  local cookies = headers["Set-Cookie"]
  if cookies then
    if type(cookies) == "string" then
      context.session = session_of(cookies)
    else
      for index = 1, #cookies do
        context.session = context.session or session_of(cookies[index])
      end
    end
    headers["Set-Cookie"] = nil
  end
  headers["Content-Length"] = nil
  headers["ETag"] = nil
end

-- The legacy form of a modern answer, or nil where it is none.
function translate.legacy(answer, session, seconds)
  local found = {}
  if not members(answer, 1, ANSWER, found) or not found.status then
    return nil
  end
  local key, value = "", ""
  if found.status == '"ok"' then
    key, value = ',"returned":', found.returned or "null"
  elseif found.status == '"exception"' then
    key, value = ',"exception":', found.exception or "null"
  end
  return concat {
    '{"result":', found.status, key, value, ',"special":{"sessionId":',
    session and session ~= "" and cjson.encode(session) or "null",
    ',"logs":', found.logs or "[]", ',"executionDuration":', seconds, "}}",
  }
end

function translate.body()
  local context = ngx.ctx
  if context.passes then
    return
  end
  local chunk, last = ngx.arg[1], ngx.arg[2]
  if context.answer then
    chunk = context.answer .. chunk
  end
  if not last then
    context.answer = chunk
    ngx.arg[1] = nil
    return
  end
  -- The head is gone by now: what can't be translated ends the connection.
  local answer = translate.legacy(chunk, context.session, ngx.now() - context.began)
  if not answer then
    return ngx.ERROR
  end
  ngx.arg[1] = answer
end

return translate
