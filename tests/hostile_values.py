"""Hostile values: texts, numbers, times, LEIs."""

INT_MIN, INT_MAX = -(2**31), 2**31 - 1

ID_MIN, ID_MAX = -(2**63), 2**63 - 1

# DESIGN 4: what is trimmed, and what looks like it but is not.
TRIMMED = [
    *"\t\n\v\f\r \u00a0\u1680",
    *map(chr, range(0x2000, 0x200B)),
    *"\u2028\u2029\u202f\u205f\u3000\ufeff",
]

NOT_TRIMMED = [*"\x1c\x1d\x1e\x1f\u0085\u00ad\u180e\u200b\u200c\u200d\u200e\u2060\u3164\u0001\u007f"]

CASED = [
    "EXAMPLE.COM",
    "\u0391\u03a3",  # final sigma
    "\u0391\u03a3.GR",  # a full stop is passed over: not final
    "\u0391\u03a3-\u0392\u03a3",  # a hyphen is not: both final
    "\u03a3",  # nothing cased before it: not final
    "\u03a3\u03a3\u03a3",
    "1\u03a3",
    "A\u0301\u03a3\u0301",  # combining marks are passed over
    "\u0391\u03a3\u03c3",
    "\u0130STANBUL",  # becomes two code points
    "I\u0131",
    "STRA\u1e9eE.DE",
    "\u01c5",
    "\u01c4\u01c7\u01ca",
    "\u212aelvin",
    "\u212bngstr\u00f6m",
    "\u2126",
    "\U00010400\U00010427",  # Deseret
    "\u13a0\uab70",  # Cherokee
    "\u1c90\u10d0\u10a0",  # Georgian: Mtavruli and Asomtavruli have lower case
    "\u24b6\u2160",
    "\uff21.\uff23",
    "\u1f88\u1fbc",
    "XN--MNCHEN-3YA.DE",
    "M\u00dcNCHEN.DE",
    "MU\u0308NCHEN.DE",
]

HOSTILE_TEXTS = [
    "A; B",
    "; ",
    ";",
    '"quoted" and "" twice',
    "it's",
    "back\\slash \\N \\. \\\\",
    "line\nbreak",
    "carriage\r\nreturn\r",
    "tab\there",
    "NULL",
    "null",
    "\\N",
    "NaN",
    "None",
    "{}",
    '{"a": [1, null]}',
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\uff1d1",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1f3\U0001f1f4",
    "\u202bחברה בע\u05f4מ\u202c \u200fشركة\u200e Ltd",
    "\u2066isolated\u2069",
    "e\u0301",
    "\u00e9",
    "z\u0351\u0352\u0353\u0354algo",
    "株式会社\u3000日本 ｶﾌﾞｼｷ",
    "ក្រុមហ៊ុន",
    "\u0001\u0002\u001f\u007f\u0080",
    "\u2028line\u2029separators",
    "\ufffd\uffff\U0010ffff",
    "\ud7ff\ue000",
    " leading and trailing ",
    "\u00a0nbsp\u00a0",
    "30",
    "1e5",
    "0x10",
    "true",
    "2025-01-01",
    "%s %(x)s {0} $1 :x ? --",
    "<script>alert(1)</script>",
    "'; DROP TABLE domains; --",
]

BLANKS: list[str | None] = [None, "", " ", "\t\r\n", "\u00a0\u3000\ufeff", "\u2028"]

REALS = ["NaN", "Infinity", "-Infinity", "0", "-0", "1e-45", "-1e-45", "1.17549435e-38", "1e-40", "3.4028235e38"]

TIMESTAMPS = [
    "infinity",
    "-infinity",
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59.999999",
    "10000-01-01 00:00:00",
    "200000-06-01 12:00:00.000001",
    "0001-12-31 23:59:59.999999 BC",
    "0002-02-28 01:02:03 BC",
    "0044-03-15 12:34:56.789 BC",
    "4713-11-24 00:00:00 BC",
    "1969-12-31 23:59:59.999999",
    "1970-01-01 00:00:00",
    "1582-10-10 00:00:00",
    "1900-02-28 23:59:59.5",
    "2024-02-29 23:59:59.000001",
    "2038-01-19 03:14:08",
]

INTS = [INT_MIN, -1, 0, 1, INT_MAX, None]


def make_lei(body: str) -> str:
    """The valid LEI of an 18-character body, check digits by ISO 7064 MOD 97-10."""
    digits = "".join(str(int(letter, 36)) for letter in body + "00")
    return f"{body}{98 - int(digits) % 97:02d}"


LEI = make_lei("5493001KJTIIGC8Y1R")

ODD_LEIS = [
    "HWUPKR0MPOU8FGXBT394",  # valid
    "13250000000000000107",  # digits only, real
    "300300E1000862000093",  # reads as a floating point number, real
    "335800CBJHTFQR5FCM79",  # wrong check digits
    "HWUPKR0MPOU8FGXBT393",
    "HWUPKR0MPOU8FGXBT349",
    "hwupkr0mpou8fgxbt394",  # lower case
    "HWUPKR0MPOU8FGXBT39",  # 19
    "HWUPKR0MPOU8FGXBT3940",  # 21
    "HWUPKR0MPOU8FGXBT394\n",
    "HWUPKR0MPOU8FGXBT39\n",
    "\nHWUPKR0MPOU8FGXBT394",
    "HWUPKR0MPOU8FGXBT394\nHWUPKR0MPOU8FGXBT394",
    "HWUPKR0MPOU8FGXBT394 ",
    " HWUPKR0MPOU8FGXBT394",
    "HWUPKR0MPOU8FGXBT3\uff19\uff14",  # full-width digits, 20 characters
    "HWUPKR0MPOU8FGXBT3\u0669\u0664",  # Arabic-Indic digits
    "\uff28WUPKR0MPOU8FGXBT394",
    "HWUPKR0MPOU8FGXBT\u212a94",
    "HWUPKR0MPOU8FGXB\u00e994",  # 20 bytes, 19 characters
    "HWUPKR-MPOU8FGXBT394",
    "00000000000000000098",  # 98 % 97 = 1: valid by DESIGN 4.2
    "00000000000000000001",
    "00000000000000000000",
    "98",
    "1",
    "NULL",
    "A; B",
    "\u0085",
    "\u200b",
]
