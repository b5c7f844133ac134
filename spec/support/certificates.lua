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

local function openssl(...)
  local status, output = program.run("openssl", ...)
  if status ~= 0 then error(output, 3) end
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

local function signed(name, days, extensions)
  file("extensions", extensions)
  openssl("x509", "-req", "-in", path "request", "-CA", path "ca.pem",
    "-CAkey", path "ca.key", "-days", days, "-extfile", path "extensions",
    "-out", path(name .. ".pem"))
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
  signed("server", "30", "subjectAltName="
    .. "DNS:localhost,DNS:*.example.test,IP:127.0.0.1,IP:::1")
  signed("expired", "-1", "subjectAltName=DNS:localhost")
  signed("client", "30",
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
