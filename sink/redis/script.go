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

func scriptName(script string) string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}
