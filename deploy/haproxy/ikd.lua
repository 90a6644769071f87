-- Asks the portal about a request. Load it once, with `lua-load-per-thread`. Tested with HAProxy 2.6.12 of Debian
-- 12; needs 2.6 or newer. Unsafe before 2.6.15, 2.7.10 and 2.8.2, and before Debian 12's 2.6.12-1+deb12u1: a `#` in
-- a path or an empty Content-Length could mean one thing to the check and another to the application
-- (CVE-2023-45539, CVE-2023-40225).
--
-- After an error in Lua, HAProxy continues with the next rule. So this code allows a request only by setting
-- txn.ikd_allowed at the very end, and the configuration denies every request without it.

local PORTAL = assert(os.getenv("IKD_PORTAL"), "the global section has no `setenv IKD_PORTAL` above this file")
local LIMIT_MS = 2000        -- HAProxy asks four times: if a portal hangs, it refuses after 8 seconds
local LARGEST_BODY = 16384   -- a page must fit into tune.bufsize with its headers

-- The request headers that the portal receives: who asks, and whether a page can be shown. No other header passes.
local ASKED = {
  "cookie", "authorization", "accept", "accept-language", "user-agent", "x-requested-with", "origin", "referer",
  "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-purpose", "sec-websocket-key",
  "x-auth-request-user",       -- shows the portal's doctor if the client's was not removed; no check reads it
}

-- The headers of the portal's 200 that the application receives. If the answer lacks one, the client's value is
-- removed, too.
local IDENTITY = {
  "x-auth-request-user", "x-auth-request-email", "x-auth-request-groups", "x-auth-request-preferred-username",
  "x-auth-request-access-token", "remote-user", "remote-email", "remote-groups", "remote-name",
  "x-forwarded-user", "x-ikd-jwt",
}

-- The statuses that go to the browser unchanged. Any other status, such as 5xx or 304, is not an answer to a check,
-- and neither is a 200 with a body, which is a page.
local RELAYED = { [302] = true, [303] = true, [400] = true, [401] = true, [403] = true, [404] = true, [405] = true }

-- An application under maintenance, in its own words. Every other 503 is not an answer to a check.
local function is_maintenance(answer)
  return answer.status == 503 and answer.headers["x-auth-maintenance"] ~= nil
end

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

-- Return the only value of a header, or nil. Raises an error if there are two.
local function only(headers, name)
  local values = headers[name]
  if not values then return nil end
  assert(values[1] == nil, name .. " twice in the portal's answer")
  return values[0]
end

-- The contract of /authgate/haproxy. Host, scheme and original URI come from the configuration, the rest from
-- HAProxy.
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
  -- Authorization is the application's own, unless it was for the portal, or the portal sends another.
  local authorization = only(headers, "authorization")
  if authorization or headers["x-auth-credential"] then txn.http:req_del_header("authorization") end
  if authorization then txn.http:req_set_header("authorization", authorization) end
  txn:set_var("txn.ikd_allowed", true)
end

-- Return the reply for the browser, or nil if the request is allowed. Raises an error for any other answer.
local function ask(txn)
  local url = "http://portal" .. txn:get_var("txn.ikd_check")
  local answer = core.httpclient():get({ url = url, headers = question(txn), dst = PORTAL, timeout = LIMIT_MS })
  local size = #(answer.body or "")
  if answer.status == 200 and size == 0 then return let_through(txn, answer.headers) end
  local is_relayed = RELAYED[answer.status] or is_maintenance(answer)
  if not is_relayed or size > LARGEST_BODY then return refusal(txn) end
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
    -- Cookies of an origin with a port have the port at the end of their names.
    if OURS[(name:gsub("_%d+$", ""))] then has_ours = true else kept[#kept + 1] = pair end
  end
  return has_ours and table.concat(kept, ";"):gsub("^[ \t]+", "") or line
end

-- API tokens are recognised by their form, also where there is no check: as Bearer, and as the password of Basic.
local function without_our_token(line, txn)
  local scheme, value = line:match("^[ \t]*(%a+)[ \t]+(.*)$")
  if not scheme then return line end
  if scheme:lower() == "basic" then
    local text = value:gsub("[^%w+/_-]", ""):gsub("-", "+"):gsub("_", "/")
    value = (txn.c:b64dec(text .. ("="):rep(-#text % 4)) or ""):match(":(ikd_.*)$") or ""
  end
  return value:sub(1, 4) ~= "ikd_" and line or ""
end

-- The header is deleted before its remaining part is set, so that an error removes all of it.
local function cut(txn, name, without)
  local lines = txn.http:req_get_headers()[name]
  if not lines then return end
  txn.http:req_del_header(name)
  for index = 0, #lines do
    local line = without(lines[index], txn)
    if line ~= "" then txn.http:req_add_header(name, line) end
  end
end

-- Removes the portal's cookies and tokens before the application receives the request. With them it could act as the
-- visitor at the portal and at other applications.
core.register_action("ikd-cut-credentials", { "http-req" }, function(txn)
  cut(txn, "cookie", without_our_cookies)
  cut(txn, "authorization", without_our_token)
end)
