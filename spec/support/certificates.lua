-- Certificates for specs of TLS, made by openssl(1), and what those need.
--
--     local it = certificates.needed(it)
--     certificates.path "server.pem"
--     teardown(certificates.remove)
--
-- ca.pem has signed server.pem (localhost, *.example.test, 127.0.0.1, ::1),
-- expired.pem and client.pem (which is not for servers), all with server.key.
-- other.pem has signed itself, and nothing else.

local helper = require "helper"
local program = require "program"

local certificates = {}
local directory

-- In a test: skip it where there is no TLS.
function certificates.needs()
  helper.needs_ring()
  if not pcall(require, "ssl") then
    helper.skip("needs LuaSec for %s (Debian: lua-sec)", _VERSION)
  end
  program.needs "openssl"
end

-- `it`, whose tests do that.
function certificates.needed(it)
  return function(name, f)
    it(name, function()
      certificates.needs()
      f()
    end)
  end
end

-- Does it go well? And its output.
local function try_openssl(...)
  local status, output = program.run("openssl", ...)
  return status == 0, output
end

local function openssl(...)
  local ok, output = try_openssl(...)
  if not ok then error(output, 3) end
end

local function file(name, content)
  local f <close> = assert(io.open(directory .. "/" .. name, "w"))
  f:write(content)
end

local function path(name) return directory .. "/" .. name end

local function self_signed(name)
  openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
    "ec_paramgen_curve:P-256", "-nodes", "-keyout", path(name .. ".key"),
    "-out", path(name .. ".pem"), "-days", "30", "-subj", "/CN=" .. name,
    "-addext", "subjectAltName=DNS:localhost")
end

local function signing(name, ...)
  return "x509", "-req", "-in", path "request", "-CA", path "ca.pem",
    "-CAkey", path "ca.key", "-extfile", path "extensions", "-out",
    path(name .. ".pem"), ...
end

local function signed(name, extensions)
  file("extensions", extensions)
  openssl(signing(name, "-days", "30"))
end

-- (OpenSSL takes dates since 3.4, and no negative number of days since 3.5.)
local function sign_expired(name, extensions)
  file("extensions", extensions)
  if not try_openssl(signing(name, "-not_before", "20200101000000Z",
      "-not_after", "20200102000000Z")) then
    openssl(signing(name, "-days", "-1"))
  end
end

local function make()
  directory = helper.tmpname()
  os.remove(directory)
  assert(os.execute("mkdir " .. directory))
  self_signed "ca"
  self_signed "other"
  openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
    "-nodes", "-keyout", path "server.key", "-out", path "request", "-subj",
    "/CN=example.test")
  signed("server", "subjectAltName="
    .. "DNS:localhost,DNS:*.example.test,IP:127.0.0.1,IP:::1")
  sign_expired("expired", "subjectAltName=DNS:localhost")
  signed("client",
    "subjectAltName=DNS:localhost\nextendedKeyUsage=clientAuth")
end

-- Where a file of this name is.
function certificates.path(name)
  if not directory then make() end
  return path(name)
end

function certificates.remove()
  if directory then os.execute("rm -rf " .. directory) end
  directory = nil
end

return certificates
