package redis

import (
	"crypto/sha1" // names scripts, as EVALSHA wants it
	"encoding/hex"
)

// putScript writes a score unless the stored value prevents it.
//
//	KEYS[1]  the entity's key
//	ARGV     the value; its expiry (ms, 1 or more); a text that may be written over
//	         although it stands in the way, "*" for any; a channel, and the beginning of
//	         what is published there: behind it come key and value, where the value
//	         was written
//	returns  1 written; 2 written over a key of another type; the stored text where
//	         it stands in the way: its position is greater, its expiry later, or it is
//	         not of this form
//
// It only compares, and writes what it was given, to the byte: what is stored
// cannot be trusted, and only the writer can tell whether it is genuine. Positions
// are compared in four numbers, because Lua compares text by the server's locale.
// A text above 4,096 bytes (score.MaxValueBytes) comes back cut. Where publishing is not
// allowed, or fails, the score is written all the same.
const putScript = `
local old, written = redis.pcall('GETRANGE', KEYS[1], 0, 4096), 1
local function stands() redis.pcall('PUBLISH', ARGV[4], ARGV[5]) return old end
if type(old) == 'table' then
  if not string.find(old.err, 'WRONGTYPE', 1, true) then return stands() end
  written = 2
elseif old ~= '' and ARGV[3] ~= '*' and old ~= ARGV[3] then
  local position, expires = string.match(old, '^(%x+) {"v":3,"x":(%d+),')
  if not position or #position ~= 32 or #expires > 15 then return stands() end
  if tonumber(expires) > tonumber(ARGV[2]) then return stands() end
  for i = 1, 25, 8 do
    local a = tonumber(string.sub(position, i, i + 7), 16)
    local b = tonumber(string.sub(ARGV[1], i, i + 7), 16)
    if a > b then return stands() end
    if a < b then break end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
redis.pcall('PUBLISH', ARGV[4], ARGV[5] .. ' ' .. KEYS[1] .. ' ' .. ARGV[1])
return written
`

// countScript stores a witness's next number, and returns the previous content: ""
// for nothing, "?" for a key of another type, at most 128 bytes.
//
//	KEYS[1]  the witness's key
//	ARGV     the number; how long it lasts (s)
const countScript = `
local old = redis.pcall('GETRANGE', KEYS[1], 0, 127)
if type(old) == 'table' then
  if not string.find(old.err, 'WRONGTYPE', 1, true) then return old end
  old = '?'
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return old
`

// limitScript checks the limits of a request, and counts it.
//
//	KEYS     the list of each limit: the times of requests that count (µs, ascending)
//	ARGV     for each key: most requests in a window; the window (µs); 1 if exceeding
//	         it refuses the request; 1 if requests count even if they are refused
//	returns  the server's time (µs); for each key: 1 if there were as many requests
//	         before this one; how many more fit; the time until one more fits (µs);
//	         1 if the key held something else, and began anew
//
// All keys are checked before any is written: a request that one limit refuses is not
// counted by the others. A list keeps at most as many times as the limit allows
// requests, so the first one that still counts is found in few steps.
//
// The server's clock may go back, or another server may take over. For a list, time
// then stands still at its last entry. An entry that is more than a window ahead is
// none of ours, and must not block its entity for long.
//
// A key expires when its last entry has left the window, which a server that stalls
// can find to be over: expiry comes last, and does not depend on when it is set.
const limitScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limits, refused = {}, false

local function at(key, i) return tonumber(redis.call('LINDEX', key, i)) end

for i, key in ipairs(KEYS) do
  local a = 4 * (i - 1)
  local l = {most = tonumber(ARGV[a + 1]), window = tonumber(ARGV[a + 2]), anew = 0}
  local n, last = redis.pcall('LLEN', key), now
  if type(n) == 'table' then
    if not string.find(n.err, 'WRONGTYPE', 1, true) then return n end
    last = nil
  elseif n > 0 then
    last = at(key, -1)
  end
  if not (last and last <= now + l.window) then
    redis.call('UNLINK', key)
    n, last, l.anew = 0, now, 1
  end
  l.now = math.max(now, last)
  local from, low, high = l.now - l.window, math.max(n - l.most, 0), n
  while low < high do
    local middle = math.floor((low + high) / 2)
    local t = at(key, middle)
    if t and t > from then high = middle else low = middle + 1 end
  end
  l.first, l.count = low, n - low
  l.exceeded = l.count >= l.most
  if l.exceeded and ARGV[a + 3] == '1' then refused = true end
  limits[i] = l
end

local reply = {now}
for i, key in ipairs(KEYS) do
  local l = limits[i]
  local counts = ARGV[4 * i] == '1' or not (refused or l.exceeded)
  if counts then
    redis.call('RPUSH', key, string.format('%.0f', l.now))
    l.count = l.count + 1
    if l.count > l.most then l.first, l.count = l.first + 1, l.most end
    if l.first > 0 then redis.call('LTRIM', key, l.first, -1) end
    l.first = 0
  end
  local reset = 0
  if l.count > 0 then reset = (at(key, l.first) or now) + l.window - now end
  if counts then redis.call('PEXPIREAT', key, math.ceil((l.now + l.window) / 1000) + 1) end
  reply[#reply + 1] = l.exceeded and 1 or 0
  reply[#reply + 1] = l.most - l.count
  reply[#reply + 1] = reset
  reply[#reply + 1] = l.anew
end
return reply
`

func scriptName(script string) string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}
