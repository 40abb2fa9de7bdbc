// What arrives at the stand-in, as it arrives.
{
  const $ = (selector) => document.querySelector(selector)
  const main = $('[data-live]')
  const list = $('[data-entries]')
  const { live, kept, key } = main.dataset
  const base = live.replace(/\/live\/stream$/, '')
  const counts = { good: 0, bad: 0 }
  let waiting = [] // what came while the page was paused
  let paused = false

  const make = (tag, text, name) => {
    const made = document.createElement(tag)
    if (text) made.textContent = text
    if (name) made.className = name
    return made
  }

  const json = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 2))

  // What came, byte by byte: of a batch, an entry has only the event's part.
  const bodyOf = async ({ number }) => (await fetch(`${base}/_dev/events/${number}/body`)).text()

  const asCurl = ({ request }, body) => {
    const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`
    const parts = [`curl -X ${request.method} ${quoted(location.origin + base + request.path)}`]
    if (request.headers.authorization) parts.push(`-H ${quoted(`Authorization: Bearer ${key}`)}`)
    if (request.headers['idempotency-key']) parts.push(`-H ${quoted(`Idempotency-Key: ${request.headers['idempotency-key']}`)}`)
    return [...parts, `--data-raw ${quoted(body)}`].join(' \\\n  ')
  }

  const replay = ({ request }, body) => {
    const headers = request.headers.authorization ? { Authorization: `Bearer ${key}` } : {}
    const again = request.headers['idempotency-key']
    if (again) headers['Idempotency-Key'] = again
    return fetch(base + request.path, { method: request.method, headers, body: request.method === 'GET' ? undefined : body })
  }

  const button = (label, does) => {
    const made = make('button', label, 'quiet')
    made.type = 'button'
    made.addEventListener('click', does)
    return made
  }

  // What stands in an entry is made when it is opened: most never are.
  const open = (details, entry) => {
    const both = make('div', '', 'both')
    const { body: _, ...request } = entry.request
    const raw = make('pre', '…', 'raw')
    bodyOf(entry).then((body) => (raw.textContent = body || '(no body)'))
    const sides = [['Request', request], entry.stored ? ['Stored', entry.stored] : ['Error', entry.error]]
    if (entry.forwarded) sides.push(['Answer', entry.answer], [`Answer of ${entry.forwarded.url}`, entry.forwarded])
    for (const [title, value] of sides) {
      const side = make('div')
      side.append(make('h2', title), make('pre', json(value)))
      if (title === 'Request') side.append(raw)
      both.append(side)
    }
    const doing = make('div', '', 'doing')
    const copy = button('Copy as curl', async () => {
      await navigator.clipboard.writeText(asCurl(entry, await bodyOf(entry)))
      copy.textContent = 'Copied'
    })
    doing.append(copy, button('Send again', async () => replay(entry, await bodyOf(entry))))
    details.append(both, doing)
  }

  const row = (entry) => {
    const item = make('li', '', entry.status)
    const details = make('details')
    const summary = make('summary')
    const words = [entry.request.at.slice(11, 23), entry.api, entry.site, `${entry.request.method} ${entry.request.path}`, entry.answer ? String(entry.answer.status) : 'no answer']
    summary.append(make('b', entry.name || '(no name)'), ...words.filter(Boolean).map((word) => make('span', word, 'quiet-words')))
    for (const { code, message } of entry.problems) summary.append(make('p', code === 'hint' ? `Hint: ${message}` : message, 'wrong-words'))
    for (const word of entry.followed) summary.append(make('span', word, 'quiet-words'))
    details.append(summary)
    details.addEventListener('toggle', () => open(details, entry), { once: true })
    item.append(details)
    item.dataset.number = entry.number
    item.told = { status: entry.status, text: JSON.stringify(entry).toLowerCase() }
    return item
  }

  const sift = (item) => {
    const [text, status] = [$('[data-filter]').value.toLowerCase(), $('[data-status]').value]
    item.hidden = (status && item.told.status !== status) || !item.told.text.includes(text)
  }

  const show = () => {
    for (const entry of waiting) {
      const item = row(entry)
      sift(item)
      list.prepend(item)
    }
    waiting = []
    while (list.children.length > kept) list.lastElementChild.remove()
    $('[data-good]').textContent = counts.good
    $('[data-bad]').textContent = counts.bad
    $('[data-empty]').hidden = list.children.length > 0
  }

  const clear = () => {
    waiting = []
    counts.good = counts.bad = 0
    list.replaceChildren()
    show()
  }

  // What an entry became that is shown already, or waits: the real product has answered it, too.
  const amend = (entry) => {
    waiting = waiting.map((one) => (one.number === entry.number ? entry : one))
    const old = list.querySelector(`[data-number="${entry.number}"]`)
    if (!old) return
    const item = row(entry)
    item.querySelector('details').open = old.querySelector('details').open
    sift(item)
    old.replaceWith(item)
  }

  const stream = new EventSource(live)
  const state = $('[data-state]')
  stream.onopen = () => (state.textContent = '')
  stream.onerror = () => (state.textContent = 'not connected')
  stream.addEventListener('reset', clear)
  stream.addEventListener('amend', ({ data }) => amend(JSON.parse(data)))
  stream.onmessage = ({ data }) => {
    const entry = JSON.parse(data)
    counts[entry.status] += 1
    waiting = [...waiting, entry].slice(-kept)
    if (!paused) show()
  }

  for (const name of ['[data-filter]', '[data-status]']) $(name).addEventListener('input', () => [...list.children].forEach(sift))
  $('[data-clear]').addEventListener('click', clear)
  $('[data-pause]').addEventListener('click', ({ target }) => {
    paused = !paused
    target.textContent = paused ? 'Go on' : 'Pause'
    target.setAttribute('aria-pressed', String(paused))
    if (!paused) show()
  })
}
