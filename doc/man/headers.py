# SPDX-License-Identifier: BSD-3-Clause
"""Reads a public header: its declarations, each with the comment before it, taken apart.

Strict: a command, an indentation or a declaration that is not known here ends the run with file and line, so that no text
is lost in silence."""
import re

# Commands that begin a part of a comment. The paragraphs of @par are sections of the page when they have one of these names.
NOTES = {'threads': 'THREADS', 'signals': 'SIGNALS', 'fork': 'FORK', 'death': 'DEATH', 'kill': 'DEATH', 'cost': 'COST'}
PARTS = {'file', 'brief', 'param', 'return', 'retval', 'par', 'since', *NOTES}
GROUPING = {'ingroup', 'defgroup', 'addtogroup', 'name', '{', '}', 'def', 'hideinitializer'}
INLINE = {'p', 'c', 'b', 'e', 'a'}

# Markdown and HTML that comments do without.
FOREIGN = re.compile(r' {0,3}(?:#+ |\d+[.)] |[*+] |>|---|===|```|~~~)')
FOREIGN_INSIDE = re.compile(r'\]\(|</?[a-z]+>|&[a-z]+;|\*\*')


class Problem(Exception):
	def __init__(self, where, what):
		super().__init__(f'{where[0]}:{where[1]}: {what}')


class Doc:
	"""One comment: brief, body (blocks), params, returns, retvals, notes, since."""

	def __init__(self, where):
		self.where = where
		self.brief = ''
		self.body = []     # ('text', str) ('list', [str]) ('table', [[str]]) ('code', [str]) ('title', str)
		self.params = []   # (name, direction, text)
		self.returns = ''
		self.retvals = []  # (value, text)
		self.notes = {}    # 'THREADS': text
		self.since = ''


class Symbol:
	def __init__(self, kind, name, doc, text):
		self.kind = kind        # function, macro, constant, struct, enum, typedef, callback
		self.name = name
		self.doc = doc          # None: not documented
		self.text = text        # the declaration in one line; of a macro, its value
		self.type = ''          # of a function
		self.arguments = []     # of a function or macro
		self.members = []       # (declaration, text)


class Header:
	def __init__(self, name):
		self.name = name
		self.doc = None
		self.symbols = []


def comment_lines(lines, where):
	"""The comment's text as (line number, text), indentation kept; several commands in a line become several lines."""
	for number, line in lines:
		line = re.sub(r'^\s*(/\*\*<?|\*(?!/)) ?', '', line.rstrip())
		line = re.sub(r'\s*\*/$', '', line)
		for part in re.split(r'(?<=\S)\s+(?=@(?:return|retval|since|par|param)\b)', line):
			yield number, part


def antecedents(text):
	"""`As there` means the function that was named last."""
	last = None
	out = []
	for piece in re.split(r'(\b[A-Za-z_]\w*\(\)|\b[Aa]s there\b(?! (?:is|are|was|were)\b))', text):
		if re.fullmatch(r'[Aa]s there', piece):
			piece = f'{piece[:2]} {last}' if last else piece
		elif piece.endswith('()'):
			last = piece
		out.append(piece)
	return ''.join(out)


def parse_comment(lines, where):
	doc = Doc(where)
	known = PARTS | INLINE | GROUPING | {'code', 'endcode'}
	text = antecedents('\n'.join(f'{n}\t{t}' for n, t in comment_lines(lines, where)))
	state = None   # the command whose text goes on
	code = None
	for entry in text.split('\n') + ['0\t']:
		number, line = entry.split('\t', 1)
		here = (where[0], int(number))
		content = line.strip()
		if code is not None:
			if content == '@endcode':
				code = None
			else:
				code.append(line)
			continue
		for command in re.findall(r'(?<!\w)[@\\]([a-z]+|[{}])', re.sub(r'`[^`]*`', '', content)):
			if command not in known:
				raise Problem(here, f'unknown command @{command}')
		if FOREIGN.match(line) or FOREIGN_INSIDE.search(re.sub(r'`[^`]*`', '', content)):
			raise Problem(here, f'markup that is not known here: {content}')
		begin = re.match(r'@([a-z]+|[{}])(?:\[([a-z,]+)\])?\s*(.*)$', content)
		name = begin.group(1) if begin else None
		if name == 'code':
			code = []
			doc.body.append(('code', code))
			state = None
		elif name in PARTS:
			state = begin_part(doc, name, begin.group(2), begin.group(3), here)
		elif name in GROUPING:
			state = None
		elif not content:
			if doc.body and doc.body[-1][0] in ('text', 'list', 'table'):
				doc.body.append(('end', None))
			state = None
		elif state:
			state(content)
		else:
			body_line(doc.body, line, here)
	doc.body = [block for block in doc.body if block[0] != 'end']
	return doc


def begin_part(doc, name, direction, rest, here):
	"""Takes the first line of a command; returns what takes the next ones."""
	def appender(get, put):
		return lambda more: put(f'{get()} {more}'.strip())

	def into_list(entries):
		return appender(lambda: entries[-1][-1], lambda t: entries.__setitem__(-1, (*entries[-1][:-1], t)))

	if name == 'file':
		return None
	if name in ('brief', 'since', 'return'):
		attribute = 'returns' if name == 'return' else name
		if getattr(doc, attribute):
			raise Problem(here, f'a second @{name}')
		setattr(doc, attribute, rest)
		return appender(lambda: getattr(doc, attribute), lambda t: setattr(doc, attribute, t))
	if name == 'param':
		word, _, text = rest.partition(' ')
		doc.params.append((word, direction or 'in', text.strip()))
		return into_list(doc.params)
	if name == 'retval':
		word, _, text = rest.partition(' ')
		doc.retvals.append((word, text.strip()))
		return into_list(doc.retvals)
	titles = [name] if name != 'par' else []
	if name == 'par':
		found = re.match(r'((?:%s)(?:, (?:%s))*)\s+(.*)$' % (('|'.join(map(str.capitalize, NOTES)),) * 2), rest)
		if not found:
			doc.body.append(('title', rest))
			return None
		titles, rest = found.group(1).lower().split(', '), found.group(2)
	sections = [NOTES[title] for title in titles]
	for section in sections:
		doc.notes[section] = f'{doc.notes.get(section, "")} {rest}'.strip()

	def more(text):
		for section in sections:
			doc.notes[section] += ' ' + text
	return more


def body_line(body, line, here):
	content = line.strip()
	indent = len(line) - len(line.lstrip())
	kind = body[-1][0] if body else 'end'
	if content.startswith('|'):
		row = [cell.strip() for cell in content.strip('|').split('|')]
		if kind != 'table':
			body.append(('table', []))
		if all(re.fullmatch(r':?-+:?', cell) for cell in row):
			return
		rows = body[-1][1]
		if rows and not row[0]:
			rows[-1][1] += ' ' + row[1]
		else:
			rows.append(row)
	elif content.startswith('- ') and indent == 0:
		if kind != 'list':
			body.append(('list', []))
		body[-1][1].append(content[2:])
	elif kind == 'list' and indent >= 2:
		body[-1][1][-1] += ' ' + content
	elif indent >= 4 and kind in ('end', 'code'):
		if kind == 'end':
			body[-1:] = [('code', [])]
		body[-1][1].append(line[4:])
	elif indent:
		raise Problem(here, 'an indentation that means nothing here')
	elif kind == 'text':
		body[-1] = ('text', f'{body[-1][1]} {content}')
	else:
		body.append(('text', content))


def split_arguments(text):
	"""At the commas that are in no parentheses."""
	parts, depth = [''], 0
	for char in text:
		depth += (char == '(') - (char == ')')
		if char == ',' and depth == 0:
			parts.append('')
		else:
			parts[-1] += char
	return [part.strip() for part in parts]


def declaration(text, doc, where):
	"""A typedef or a function."""
	text = ' '.join(text.split()).rstrip(';')
	found = re.fullmatch(r'(typedef )?([\w\s*]+?[\s*])(\w+)\((.*)\)', text)
	if found:
		symbol = Symbol('callback' if found.group(1) else 'function', found.group(3), doc, text)
		symbol.type = found.group(2).strip()
		symbol.arguments = split_arguments(found.group(4))
		return symbol
	found = re.fullmatch(r'typedef .*?(\w+)', text)
	if not found:
		raise Problem(where, 'a declaration that is not understood')
	return Symbol('typedef', found.group(1), doc, text)


def members(lines, where):
	"""Of a structure or an enumeration: declarations and the comments behind them."""
	out = []
	for number, line in joined(lines[1:-1]):
		found = re.fullmatch(r'\s*([^/]*?)[;,]?\s*(?:/\*\*<\s*(.*?)\s*\*/)?', line)
		if not found or not found.group(1):
			raise Problem((where[0], number), 'a member that is not understood')
		out.append((found.group(1), found.group(2) or ''))
	return out


def joined(lines):
	"""A comment behind a member may have several lines."""
	out = []
	for number, line in lines:
		if out and '/**<' in out[-1][1] and not out[-1][1].endswith('*/'):
			more = re.sub(r'^\s*[*] ?', '', line)
			out[-1] = (out[-1][0], f'{out[-1][1]} {more}')
		else:
			out.append((number, line))
	return out


def take_until(lines, start, end):
	stop = start
	while not end(lines[stop][1]):
		stop += 1
	return lines[start:stop + 1], stop + 1


def read(path, name):
	header = Header(name)
	with open(path, encoding='utf-8') as file:
		lines = list(enumerate(file.read().split('\n'), 1))
	at, doc = 0, None
	while at < len(lines):
		number, line = lines[at]
		where = (path, number)
		if re.match(r'#ifdef \w+_OLD_DECLARATIONS$', line):
			# The same macros as below it, written so that they stand old declarations.
			_, at = take_until(lines, at, lambda text: text == '#else')
			continue
		if line.startswith('/*'):
			part, at = take_until(lines, at, lambda text: text.rstrip().endswith('*/'))
			if line.startswith('/**'):
				if doc:
					raise Problem(doc.where, 'a comment that belongs to nothing')
				parsed = parse_comment(part, where)
				if any(re.search(r'@file\b', text) for _, text in part):
					header.doc = parsed
				elif not any(re.search(r'@[{}]|@(def|addto)group', text) for _, text in part):
					doc = parsed
			continue
		if line.startswith('#define'):
			part, at = take_until(lines, at, lambda text: not text.endswith('\\'))
			add_macro(header, ' '.join(text.rstrip('\\').strip() for _, text in part), doc)
		elif line.startswith('static __inline__'):
			part, at = take_until(lines, at, lambda text: text == '}')
			head = ' '.join(text for _, text in part).partition('{')[0]
			header.symbols.append(declaration(head.replace('static __inline__ ', '').strip(), doc, where))
		elif re.match(r'(struct|enum) \w+ \{$', line):
			part, at = take_until(lines, at, lambda text: text == '};')
			symbol = Symbol(line.split()[0], line.split()[1], doc, ' '.join(line.split()[:2]))
			symbol.members = members(part, where)
			header.symbols.append(symbol)
		elif not line or re.match(r'#|extern "C"|[{}]|namespace|using ', line):
			at += 1
			if doc and line:
				raise Problem(doc.where, 'a comment that belongs to nothing')
			continue
		else:
			part, at = take_until(lines, at, lambda text: text.endswith(';'))
			header.symbols.append(declaration(' '.join(text for _, text in part), doc, where))
		if not doc and header.symbols and header.symbols[-1].kind in ('function', 'struct', 'enum', 'typedef', 'callback') \
				and header.symbols[-1].doc is None:
			raise Problem(where, 'not documented')
		doc = None
	if not header.doc:
		raise Problem((path, 1), 'no @file')
	return header


def add_macro(header, text, doc):
	found = re.fullmatch(r'#define\s+(\w+)(?:\(([^)]*)\))?\s*(.*)', text)
	name, arguments, value = found.groups()
	if name.endswith('_H') and not value:
		return
	symbol = Symbol('constant' if arguments is None else 'macro', name, doc, value)
	symbol.arguments = split_arguments(arguments) if arguments else []
	header.symbols.append(symbol)
