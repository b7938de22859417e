# SPDX-License-Identifier: BSD-3-Clause
"""From the text of a comment to mdoc(7): one macro a line, a sentence begins a line."""
import re

from errors import CODES

WIDTH = 79
CLOSING = '.,;:!?)'
# Constants of the system's headers, shown as such.
DEFINED = {'NULL', 'SIZE_MAX', 'UINT64_MAX'}
TOKEN = re.compile(r'''
	  `(?P<code>[^`]+)`
	| @p\s(?P<param>\w+)
	| @c\s(?P<var>\w+)
	| (?P<bold>(?:@b\s\S+?(?:\s(?=@b)|(?=[\s:.,;)]|$)))+)
	| (?<![\w*])\*(?P<emph>\w[^*]*)\*(?!\w)
	| \#(?P<constant>[A-Z]\w+)
	| (?P<call>\b[A-Za-z_]\w*)\(\)
	| (?P<page>\b[a-z_]\w*)\((?P<section>[1-8])\)
	| <(?P<file>[\w/-]+\.h)>
	| (?P<path>(?<![\w/])/(?:proc|dev|tmp)[\w/]*)
	| (?P<errno>\berrno\b)
	| (?P<upper>\b[A-Z][A-Z0-9_]+\b)
	''', re.X)


class Names:
	"""What the words of one page may refer to."""

	def __init__(self, functions, macros, constants, page):
		self.functions = functions   # name: the page's name
		self.macros = macros
		self.constants = constants
		self.page = page
		self.seen = set()            # (section, page) referred to


def escape(text):
	return text.replace('\\', '\\e').replace('"', '\\(dq')


def literal(text):
	return escape(text).replace('-', '\\-')


def argument(text):
	"""One argument of a macro."""
	text = literal(text)
	# Two or three letters may be a macro's name to mdoc.
	if re.fullmatch(r'[A-Z%][a-z0-9]{1,2}|[.,;:!?()\[\]|]', text):
		return '\\&' + text
	return f'"{text}"' if ' ' in text or not text else text


def macro(found, names):
	"""A token as macro and argument, or None for a plain word."""
	kind = found.lastgroup
	value = found.group(kind)
	if kind == 'section':
		names.seen.add((value, found.group('page')))
		return f'Xr {found.group("page")} {value}'
	if kind == 'call':
		page = names.functions.get(value)
		if page and page != names.page:
			names.seen.add(('3', page))
			return f'Xr {value} 3'
		return f'Fn {argument(value)}'
	if kind == 'upper':
		if value in CODES:
			return f'Er {value}'
		return f'Dv {value}' if value in DEFINED or value in names.constants else None
	if kind == 'bold':
		return f'Sy {argument(re.sub("@b ", "", value))}'
	what = {'code': 'Ql', 'param': 'Fa', 'var': 'Va', 'emph': 'Em', 'constant': 'Dv', 'file': 'In', 'path': 'Pa', 'errno': 'Va'}[kind]
	return f'{what} {argument(value)}'


def pieces(text, names):
	"""('word', str) and ('macro', str); a macro's line has what stands before and behind it without a space."""
	at, out, joined = 0, [], False
	for found in TOKEN.finditer(text):
		line = macro(found, names)
		if line is None:
			continue
		*words, before = text[at:found.start()].split(' ')
		out += [('word', word) for word in words if word]
		behind = re.match(r'\S*', text[found.end():]).group()
		following = TOKEN.search(behind)
		if before:
			line = f'No {argument(before)} Ns {line}'
		if joined:
			out[-1] = ('macro', f'{out[-1][1]} Ns {line}')
		else:
			out.append(('macro', '.' + line))
		# Where another token follows at once, it takes what lies between.
		joined = bool(following) and macro(following, names) is not None
		if not joined:
			out[-1] = ('macro', out[-1][1] + closing(behind))
			at = found.end() + len(behind)
		else:
			at = found.end()
	return out + [('word', word) for word in text[at:].split(' ') if word]


def closing(behind):
	"""What stands behind a macro: punctuation, each mark an argument of its own, then what else there is."""
	marks = re.match(rf'[{re.escape(CLOSING)}]*', behind).group()
	rest = behind[len(marks):]
	return ''.join(f' {mark}' for mark in marks) + (f' Ns No {argument(rest)}' if rest else '')


def text_lines(text, names):
	"""A paragraph, as lines of mdoc."""
	lines, line = [], ''
	for kind, value in pieces(text, names):
		if kind == 'macro':
			if line:
				lines.append(line)
			lines.append(value)
			line = ''
			continue
		if line and len(line) + len(value) >= WIDTH:
			lines.append(line)
			line = ''
		value = escape(value)
		if not line and value[0] in ".'":
			value = '\\&' + value
		line = f'{line} {value}'.strip()
		if re.search(r'[^.][.!?]\)?$', value):
			lines.append(line)
			line = ''
	return lines + ([line] if line else [])


def plain(text):
	"""Without any markup, for the one line of NAME."""
	text = re.sub(r'@[pcb] |[`*#]', '', text)
	return escape(text)


def sentence(text):
	"""A reason as a sentence."""
	text = text.strip()
	if re.match(r'(?!errno\b)[a-z]+(?:[\s.:;]|$)', text):
		text = text[0].upper() + text[1:]
	return text if text.endswith(('.', '.)')) else text + '.'


def block(kind, content, names):
	"""A block of a comment's body."""
	if kind == 'text':
		return ['.Pp'] + text_lines(content, names)
	if kind == 'title':
		return [f'.Ss {plain(content)}']
	if kind == 'code':
		return ['.Bd -literal -offset indent'] + [code_line(line) for line in content] + ['.Ed']
	if kind == 'list':
		out = ['.Bl -bullet']
		for item in content:
			out += ['.It'] + text_lines(item, names)
		return out + ['.El']
	# A table, whose head says in which words a row goes on.
	prefix = content[0][1].removesuffix('...')
	out = [f'.Bl -tag -width Er']
	for left, right in content[1:]:
		out += tag(left.split(', '), prefix + right if content[0][1].endswith('...') else right, names)
	return out + ['.El']


def code_line(line):
	line = literal(line.replace('\t', '    '))
	return '\\&' + line if line[:1] in (".", "'") else line


def tag(codes, reason, names):
	"""One entry of a list of errors."""
	if set(codes) <= CODES | {'...'}:
		words = ' , '.join(code if code != '...' else 'No ...' for code in codes)
		out = [f'.It Bq Er {words}']
	else:
		out = [f'.It {escape(", ".join(codes))}']
	return out + text_lines(sentence(reason), names)
