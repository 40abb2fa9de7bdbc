// The emulator's live page: shows the entries of the journal as they arrive.
{
  const $ = (selector) => document.querySelector(selector)
  const main = $('[data-live]')
  const list = $('[data-entries]')
  const { live: streamUrl, maxEntries, key } = main.dataset
  const base = streamUrl.replace(/\/live\/stream$/, '')
  const counts = { good: 0, bad: 0 }
  let pending = [] // entries that are not in the list yet, for example because the page is paused
  let isPaused = false

  const element = (tag, text, className) => {
    const node = document.createElement(tag)
    if (text) node.textContent = text
    if (className) node.className = className
    return node
  }

  const formatJson = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 2))

  // The body byte by byte. For a batch, the entry itself only has the part of its event.
  const fetchBody = async ({ number }) => (await fetch(`${base}/_dev/events/${number}/body`)).text()

  const asCurl = ({ request }, body) => {
    const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`
    const parts = [`curl -X ${request.method} ${quote(location.origin + base + request.path)}`]
    if (request.headers.authorization) parts.push(`-H ${quote(`Authorization: Bearer ${key}`)}`)
    if (request.headers['idempotency-key']) parts.push(`-H ${quote(`Idempotency-Key: ${request.headers['idempotency-key']}`)}`)
    return [...parts, `--data-raw ${quote(body)}`].join(' \\\n  ')
  }

  const resend = ({ request }, body) => {
    const headers = request.headers.authorization ? { Authorization: `Bearer ${key}` } : {}
    const idempotencyKey = request.headers['idempotency-key']
    if (idempotencyKey) headers['Idempotency-Key'] = idempotencyKey
    return fetch(base + request.path, { method: request.method, headers, body: request.method === 'GET' ? undefined : body })
  }

  const button = (label, onClick) => {
    const node = element('button', label, 'quiet')
    node.type = 'button'
    node.addEventListener('click', onClick)
    return node
  }

  // Details are only built when an entry is opened, as most never are.
  const buildDetails = (details, entry) => {
    const columns = element('div', '', 'side-by-side')
    const { body: _, ...request } = entry.request
    const raw = element('pre', '…', 'raw')
    fetchBody(entry).then((body) => (raw.textContent = body || '(no body)'))
    const sections = [['Request', request], entry.stored ? ['Stored', entry.stored] : ['Error', entry.error]]
    if (entry.forwarded) sections.push(['Response', entry.answer], [`Response of ${entry.forwarded.url}`, entry.forwarded])
    for (const [title, value] of sections) {
      const column = element('div')
      column.append(element('h2', title), element('pre', formatJson(value)))
      if (title === 'Request') column.append(raw)
      columns.append(column)
    }
    const actions = element('div', '', 'actions')
    const copy = button('Copy as curl', async () => {
      await navigator.clipboard.writeText(asCurl(entry, await fetchBody(entry)))
      copy.textContent = 'Copied'
    })
    actions.append(copy, button('Send again', async () => resend(entry, await fetchBody(entry))))
    details.append(columns, actions)
  }

  const buildItem = (entry) => {
    const { request, answer } = entry
    const item = element('li', '', entry.status)
    const details = element('details')
    const summary = element('summary')
    const labels = [request.at.slice(11, 23), entry.api, entry.site, `${request.method} ${request.path}`, answer ? String(answer.status) : 'no response']
    summary.append(element('b', entry.name || '(no name)'), ...labels.filter(Boolean).map((label) => element('span', label, 'detail')))
    for (const { code, message } of entry.problems) summary.append(element('p', code === 'hint' ? `Hint: ${message}` : message, 'problem'))
    for (const consequence of entry.followed) summary.append(element('span', consequence, 'detail'))
    details.append(summary)
    details.addEventListener('toggle', () => buildDetails(details, entry), { once: true })
    item.append(details)
    item.dataset.number = entry.number
    item.searchable = { status: entry.status, text: JSON.stringify(entry).toLowerCase() }
    return item
  }

  const applyFilter = (item) => {
    const [text, status] = [$('[data-filter]').value.toLowerCase(), $('[data-status]').value]
    item.hidden = (status && item.searchable.status !== status) || !item.searchable.text.includes(text)
  }

  const showPending = () => {
    for (const entry of pending) {
      const item = buildItem(entry)
      applyFilter(item)
      list.prepend(item)
    }
    pending = []
    while (list.children.length > maxEntries) list.lastElementChild.remove()
    $('[data-good]').textContent = counts.good
    $('[data-bad]').textContent = counts.bad
    $('[data-empty]').hidden = list.children.length > 0
  }

  const clear = () => {
    pending = []
    counts.good = counts.bad = 0
    list.replaceChildren()
    showPending()
  }

  // Replace an entry, as the response of the real product was added to it.
  const amend = (entry) => {
    pending = pending.map((other) => (other.number === entry.number ? entry : other))
    const oldItem = list.querySelector(`[data-number="${entry.number}"]`)
    if (!oldItem) return
    const item = buildItem(entry)
    item.querySelector('details').open = oldItem.querySelector('details').open
    applyFilter(item)
    oldItem.replaceWith(item)
  }

  const stream = new EventSource(streamUrl)
  const connection = $('[data-connection]')
  stream.onopen = () => (connection.textContent = '')
  stream.onerror = () => (connection.textContent = 'disconnected, trying again…')
  stream.addEventListener('reset', clear)
  stream.addEventListener('amend', ({ data }) => amend(JSON.parse(data)))
  stream.onmessage = ({ data }) => {
    const entry = JSON.parse(data)
    counts[entry.status] += 1
    pending = [...pending, entry].slice(-maxEntries)
    if (!isPaused) showPending()
  }

  for (const selector of ['[data-filter]', '[data-status]']) $(selector).addEventListener('input', () => [...list.children].forEach(applyFilter))
  $('[data-clear]').addEventListener('click', clear)
  $('[data-pause]').addEventListener('click', ({ target }) => {
    isPaused = !isPaused
    target.textContent = isPaused ? 'Resume' : 'Pause'
    target.setAttribute('aria-pressed', String(isPaused))
    if (!isPaused) showPending()
  })
}
