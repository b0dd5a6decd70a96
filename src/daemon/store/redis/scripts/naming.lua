-- Put in front of a script that has failed, when it is run once more: an error of a command says what is wrong,
-- and not with which key; this one says both. It costs too much to be there always.
local server = redis
local redis = setmetatable({
  call = function(...)
    local answer = server.pcall(...)
    if type(answer) == 'table' and answer.err then
      answer.err = answer.err .. ' (' .. (...) .. ' ' .. tostring(select(2, ...)) .. ')'
      error(answer)
    end
    return answer
  end,
}, { __index = server })

