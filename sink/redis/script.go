package redis

import (
	"crypto/sha1" // names the script, as EVALSHA wants it
	"encoding/hex"
)

// putScript writes a score unless a newer one is stored.
//
//	KEYS[1]  the entity's key
//	ARGV     position (32 hexadecimal digits), expiry (ms), rest of the value
//	returns  1 written, 0 refused: what is stored is newer
//
// The stored expiry is read from the value itself: PEXPIRETIME needs Redis 7,
// and PTTL would let it drift by a millisecond with every write. Any version of
// a value begins in the same way. Positions are compared in four numbers,
// because Lua compares text by the server's locale. What is not ours (another
// type, another form) is overwritten.
const putScript = `
local new, expires = ARGV[1], ARGV[2]
local old = redis.pcall('GET', KEYS[1])
if type(old) == 'string' then
  local stored, lasts = string.match(old, '^(%x+) {"v":%d+,"x":(%d+),')
  if stored and #stored == 32 then
    for i = 1, 25, 8 do
      local a = tonumber(string.sub(stored, i, i + 7), 16)
      local b = tonumber(string.sub(new, i, i + 7), 16)
      if a > b then return 0 end
      if a < b then break end
    end
    if tonumber(lasts) > tonumber(expires) then expires = lasts end
  end
end
if expires ~= '0' then
  redis.call('SET', KEYS[1], new .. ' {"v":1,"x":' .. expires .. ARGV[3], 'PXAT', expires)
end
return 1
`

func scriptName(script string) string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}
