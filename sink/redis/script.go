package redis

import (
	"crypto/sha1" // names scripts, as EVALSHA wants it
	"encoding/hex"
)

// putScript writes a score unless the stored value prevents it.
//
//	KEYS[1]  the entity's key
//	ARGV     the value; its expiry (ms, 1 or more); a text that may be written over
//	         although it stands in the way, "*" for any
//	returns  1 written; 2 written over a key of another type; the stored text where
//	         it stands in the way: its position is greater, its expiry later, or it is
//	         not of this form
//
// It only compares, and writes its argument byte for byte: stored values cannot be
// trusted, and only the writer can tell whether they are genuine. Positions are
// compared as four numbers, because Lua compares text by the server's locale. A
// text above 4,096 bytes (score.MaxValueBytes) is returned truncated.
const putScript = `
local old, written = redis.pcall('GETRANGE', KEYS[1], 0, 4096), 1
if type(old) == 'table' then
  if not string.find(old.err, 'WRONGTYPE', 1, true) then return old end
  written = 2
elseif old ~= '' and ARGV[3] ~= '*' and old ~= ARGV[3] then
  local position, expires = string.match(old, '^(%x+) {"v":3,"x":(%d+),')
  if not position or #position ~= 32 or #expires > 15 then return old end
  if tonumber(expires) > tonumber(ARGV[2]) then return old end
  for i = 1, 25, 8 do
    local a = tonumber(string.sub(position, i, i + 7), 16)
    local b = tonumber(string.sub(ARGV[1], i, i + 7), 16)
    if a > b then return old end
    if a < b then break end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PXAT', ARGV[2])
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
