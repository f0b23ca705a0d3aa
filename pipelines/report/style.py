"""The style of report.html: one column on a phone, cards side by side on a desk, light or dark as the reader has it."""

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;--accent:#0072b2;
--bad:#b3261e;--warn:#8a5000;--good:#1a7f37}
@media (prefers-color-scheme:dark){:root{--page:#0f1317;--card:#181d23;--ink:#e6edf3;--soft:#9aa5b1;--line:#30363d;
--accent:#56b4e9;--bad:#ff8a80;--warn:#f0b429;--good:#56d364}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,Arial,sans-serif;
-webkit-text-size-adjust:100%}
main{max-width:1200px;margin:0 auto;padding:24px}
h1,h2,h3,p,dl,dd{margin:0}
h1{font-size:26px;line-height:1.25;overflow-wrap:anywhere}
h2{font-size:19px;margin:36px 0 12px}
h3{font-size:16px}
p{overflow-wrap:anywhere;max-width:75ch}
.kicker{color:var(--soft)}
dt{color:var(--soft);font-size:13px}
.facts{display:flex;flex-wrap:wrap;gap:8px 32px;margin-top:14px}
.facts dd{overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;margin-top:24px}
.tiles div,.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px}
.tiles dd{font-size:24px;font-weight:600;font-variant-numeric:tabular-nums}
.changes{display:flex;flex-wrap:wrap;gap:16px;margin-top:8px;align-items:flex-start}
.changes .scroll{flex:1 1 420px;min-width:0;margin-top:0}.changes .card{flex:0 1 390px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr));gap:16px}
.card{min-width:0}
.card p{color:var(--soft);font-size:14px;margin:4px 0 12px}
.chart{overflow:visible;display:block;width:100%;max-width:440px;height:auto;color:var(--ink)}
.chart text{font-family:inherit}
details{margin-top:12px}
summary{cursor:pointer;color:var(--accent);padding:4px 0}
summary:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.scroll{overflow:auto;max-height:420px;margin-top:8px}
table{border-collapse:collapse;font-size:14px;min-width:100%}
caption{text-align:left;color:var(--soft);font-size:13px;padding-bottom:4px}
th,td{text-align:left;padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);position:sticky;top:0;background:var(--card)}
.changes>.scroll{max-width:720px}
.changes>.scroll th,.checks th{background:var(--page)}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.card td{white-space:nowrap}.card td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:8em}
.checks{min-width:max(100%,600px)}.checks td{overflow-wrap:anywhere}
.verdict{white-space:nowrap}
.passed .verdict{color:var(--good)}.warning .verdict{color:var(--warn)}.failed .verdict{color:var(--bad)}
footer{margin-top:36px;color:var(--soft);font-size:13px}
@media (max-width:600px){main{padding:12px}.cards{grid-template-columns:minmax(0,1fr)}
.tiles{grid-template-columns:1fr 1fr;gap:8px}.tiles div{padding:10px 12px}.tiles dd{font-size:20px}
.card{border:0;border-radius:0;padding:12px 0;background:none;border-top:1px solid var(--line)}
.card th{background:var(--page)}h1{font-size:21px}
.changes .card,.changes .scroll{flex-basis:100%}.changes>.scroll td,.changes>.scroll th{padding-right:6px}
.changes>.scroll td:first-child{overflow-wrap:anywhere}
.checks{min-width:0}.checks,.checks tbody,.checks caption{display:block}.checks thead{display:none}
.checks tr{display:grid;grid-template-columns:auto 1fr;gap:0 12px;padding:6px 0;border-bottom:1px solid var(--line)}
.checks td{border:0;padding:0}.checks .verdict{grid-row:1/4}.checks td:nth-child(3){font-weight:600}
.checks td:not(.verdict){grid-column:2}.checks .why{color:var(--soft)}}
@media print{details:not([open])>summary{display:none}.card{break-inside:avoid}}
"""
