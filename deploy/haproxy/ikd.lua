-- Asks the portal about a request. Loaded once for each HAProxy, by `lua-load-per-thread`.
-- Tested with HAProxy 2.6.12 of Debian 12; needs 2.6 or newer. Unsafe before 2.6.15, 2.7.10 and 2.8.2, and before
-- Debian 12's 2.6.12-1+deb12u1: a `#` in a path or an empty Content-Length could mean one thing to the check and another
-- to the application (CVE-2023-45539, CVE-2023-40225).
--
-- An error in Lua lets a request go on to the next rule. So nothing here lets anybody in by itself: it sets
-- txn.ikd_allowed at the very end, and the configuration denies whatever comes without it.

local PORTAL = assert(os.getenv("IKD_PORTAL"), "the global section has no `setenv IKD_PORTAL` above this file")
local LIMIT_MS = 2000        -- HAProxy asks four times: a portal that hangs refuses after 8 seconds
local LARGEST_BODY = 16384   -- a page has to fit into tune.bufsize with its headers

-- What of a request the portal is told: who asks, and whether a page can be shown. Nothing else passes.
local ASKED = {
  "cookie", "authorization", "accept", "accept-language", "user-agent", "x-requested-with", "origin", "referer",
  "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-purpose", "sec-websocket-key",
}

-- What of the portal's 200 the application is told. What the answer lacks, the application does not get from
-- the client either.
local IDENTITY = {
  "x-auth-request-user", "x-auth-request-email", "x-auth-request-groups", "x-auth-request-preferred-username",
  "x-auth-request-access-token", "remote-user", "remote-email", "remote-groups", "remote-name",
  "x-forwarded-user", "x-ikd-jwt",
}

-- What goes on to the browser as it is. Everything else, 5xx and 304 too, is no answer to a check, nor is a 200
-- with a body, which is a page.
local RELAYED = { [302] = true, [303] = true, [400] = true, [401] = true, [403] = true, [404] = true, [405] = true }

-- HAProxy writes these itself.
local OF_THE_CONNECTION = {
  ["connection"] = true, ["keep-alive"] = true, ["content-length"] = true, ["transfer-encoding"] = true,
}

local OURS = {}
for _, name in ipairs({ "ikd_gate", "ikd_nonce", "ikd_portal", "ikd_csrf", "ikd_shared" }) do
  OURS[name], OURS["__Host-" .. name], OURS["__Secure-" .. name] = true, true, true
end

local function refusal(txn)
  return txn:reply({
    status = 503,
    headers = {
      ["content-type"] = { "text/plain" }, ["retry-after"] = { "5" }, ["cache-control"] = { "no-store" },
    },
    body = "The sign-in service does not answer. Please try again in a moment.\n",
  })
end

local function relayed(txn, answer)
  local headers = {}
  for name, values in pairs(answer.headers) do
    if not OF_THE_CONNECTION[name] then
      headers[name] = {}
      for index = 0, #values do headers[name][index + 1] = values[index] end
    end
  end
  return txn:reply({ status = answer.status, headers = headers, body = answer.body })
end

-- Give the only value of a header, nil where there is none. Raises an error for two, which nobody can tell apart.
local function only(headers, name)
  local values = headers[name]
  if not values then return nil end
  assert(values[1] == nil, name .. " twice in the portal's answer")
  return values[0]
end

-- The contract of /authgate/haproxy. The host, the scheme and the address as sent are the configuration's, the rest
-- HAProxy's own.
local function question(txn)
  local headers = { ["host"] = { "portal" } }
  local sent = txn.http:req_get_headers()
  for _, name in ipairs(ASKED) do headers[name] = sent[name] end
  headers["x-forwarded-method"] = { txn.f:method() }
  headers["x-forwarded-proto"] = { txn:get_var("txn.ikd_scheme") }
  headers["x-forwarded-host"] = { txn:get_var("txn.ikd_host") }
  headers["x-forwarded-uri"] = { txn:get_var("txn.ikd_uri") }
  headers["x-forwarded-for"] = { txn.f:src() }
  return headers
end

local function let_through(txn, headers)
  local user = only(headers, "x-auth-request-user")
  assert(user, "a 200 without X-Auth-Request-User: txn.ikd_check names no check of the portal")
  for _, name in ipairs(IDENTITY) do
    txn.http:req_del_header(name)
    local value = only(headers, name)
    if value then txn.http:req_set_header(name, value) end
  end
  -- Authorization is the application's own, unless the portal says that it was for the portal, or gives another.
  local authorization = only(headers, "authorization")
  if authorization or headers["x-auth-credential"] then txn.http:req_del_header("authorization") end
  if authorization then txn.http:req_set_header("authorization", authorization) end
  txn:set_var("txn.ikd_allowed", true)
end

-- Give the reply for the browser; nil where the request may go on. Raises an error for an answer of nobody's.
local function ask(txn)
  local url = "http://portal" .. txn:get_var("txn.ikd_check")
  local answer = core.httpclient():get({ url = url, headers = question(txn), dst = PORTAL, timeout = LIMIT_MS })
  local size = #(answer.body or "")
  if answer.status == 200 and size == 0 then return let_through(txn, answer.headers) end
  if not RELAYED[answer.status] or size > LARGEST_BODY then return refusal(txn) end
  return relayed(txn, answer)
end

core.register_action("ikd-check", { "http-req" }, function(txn)
  txn:unset_var("txn.ikd_allowed")
  local is_sound, reply = pcall(ask, txn)
  if not is_sound then
    txn:unset_var("txn.ikd_allowed")
    core.log(core.err, "ikd-check: " .. tostring(reply))
    reply = refusal(txn)
  end
  if reply then txn:done(reply) end
end)

local function without_our_cookies(line)
  local kept, has_ours = {}, false
  for pair in (line .. ";"):gmatch("([^;]*);") do
    local name = pair:match("^[ \t]*(.-)[ \t]*=") or ""
    -- An origin with a port has the port behind the names of its cookies.
    if OURS[(name:gsub("_%d+$", ""))] then has_ours = true else kept[#kept + 1] = pair end
  end
  return has_ours and table.concat(kept, ";"):gsub("^[ \t]+", "") or line
end

-- API tokens are known by their form, also where no check is made: as Bearer, and as the password of Basic.
local function without_our_token(line, txn)
  local scheme, value = line:match("^[ \t]*(%a+)[ \t]+(.*)$")
  if not scheme then return line end
  if scheme:lower() == "basic" then
    local text = value:gsub("[^%w+/_-]", ""):gsub("-", "+"):gsub("_", "/")
    value = (txn.c:b64dec(text .. ("="):rep(-#text % 4)) or ""):match(":(ikd_.*)$") or ""
  end
  return value:sub(1, 4) ~= "ikd_" and line or ""
end

-- A header is gone before what remains of it is put back, so that an error takes all of it away.
local function cut(txn, name, without)
  local lines = txn.http:req_get_headers()[name]
  if not lines then return end
  txn.http:req_del_header(name)
  for index = 0, #lines do
    local line = without(lines[index], txn)
    if line ~= "" then txn.http:req_add_header(name, line) end
  end
end

-- Cuts the portal's cookies and tokens out of what an application receives: with them it could act at the portal,
-- and at other applications, as the person who visits it.
core.register_action("ikd-cut-credentials", { "http-req" }, function(txn)
  cut(txn, "cookie", without_our_cookies)
  cut(txn, "authorization", without_our_token)
end)
