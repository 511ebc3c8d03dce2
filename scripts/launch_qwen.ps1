# Starts the server with Qwen2.5-1.5B-Instruct Q4_K_M from a GGUF file (Windows twin of launch_qwen.sh; untested).
param(
    [int]$Port = 1234,
    [string]$Mcp = "",
    [string]$Binary = "$PSScriptRoot\..\target\release\mistralrs-server.exe",
    [string]$Model = "$env:USERPROFILE\models\qwen2.5-1.5b-instruct-q4_k_m.gguf"
)
function Stop-WithError([string]$Text) {
    [Console]::Error.WriteLine("[ERROR] $Text")
    exit 1
}
if (-not (Test-Path -PathType Leaf $Binary)) { Stop-WithError "no server at $Binary; run: make build-server" }
if (-not (Test-Path -PathType Leaf $Model)) { Stop-WithError "no model at $Model; name one with -Model" }
if ($Mcp) {
    if (-not (Test-Path -PathType Leaf $Mcp)) { Stop-WithError "no MCP configuration at $Mcp" }
    $env:MCP_CONFIG_PATH = $Mcp
}
& $Binary --port $Port gguf -m (Split-Path -Parent $Model) -f (Split-Path -Leaf $Model)
exit $LASTEXITCODE
