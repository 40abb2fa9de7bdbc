// What the pages do better with a script. Without it, each form and link works as it is.

const $$ = (selector, within = document) => [...within.querySelectorAll(selector)]

// Takes over a part of another page of ours.
function swap(part, from) {
  part.replaceWith(from)
  enliven(from)
}

async function load(url, options) {
  const answer = await fetch(url, { headers: { Accept: 'text/html' }, ...options })
  return { answer, page: new DOMParser().parseFromString(await answer.text(), 'text/html') }
}

// A form of a settings page: sent, and answered, in place.
async function send(form, button) {
  const body = new URLSearchParams(new FormData(form))
  const words = button?.textContent
  $$('button', form).forEach((one) => (one.disabled = true))
  if (button?.dataset.busy) button.textContent = button.dataset.busy
  try {
    const { answer, page } = await load(form.action, { method: 'POST', body })
    if (answer.redirected) history.pushState(null, '', answer.url)
    document.title = page.title
    // Where it leads to another kind of page (the site is gone, the session has ended), all of it is another.
    const part = page.querySelector('main[data-in-place]') ? 'main' : 'body'
    swap(document.querySelector(part), page.querySelector(part))
    attend(document.querySelector('main'))
  } catch {
    // The server is not there. What was typed stays.
    $$('button', form).forEach((one) => (one.disabled = false))
    if (button) button.textContent = words
    say(form, 'The server could not be reached: try again in a moment.')
  }
}

// Where to look, and what a screen reader is to read: what is wrong first, then what was done.
function attend(main) {
  const at = main.querySelector('[aria-invalid]') || main.querySelector('.notice') || main
  if (!at.matches('input, select, main')) at.tabIndex = -1
  at.focus({ preventScroll: true })
  at.scrollIntoView({ block: at === main ? 'start' : 'center' })
}

function say(form, text) {
  form.querySelector('.unreached')?.remove()
  const told = Object.assign(document.createElement('p'), { className: 'wrong unreached', textContent: text })
  told.setAttribute('role', 'alert')
  form.append(told)
}

// A form that looks for something: while one types or chooses, what it finds changes.
function live(form) {
  let waiting, latest
  const look = async () => {
    const url = `${form.action}?${new URLSearchParams(new FormData(form))}`
    const mine = (latest = {})
    try {
      const { page } = await load(url)
      const part = page.getElementById(form.dataset.live)
      if (mine !== latest || !part) return
      history.replaceState(null, '', url)
      swap(document.getElementById(form.dataset.live), part)
    } catch {
      // The server is not there: the button still works, and the browser says what is wrong.
    }
  }
  form.addEventListener('input', () => {
    clearTimeout(waiting)
    waiting = setTimeout(look, 150)
  })
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    clearTimeout(waiting)
    look()
  })
}

async function copy(button) {
  const code = button.parentElement.querySelector('code')
  try {
    await navigator.clipboard.writeText(code.textContent)
  } catch {
    // Over plain http there is no clipboard to write to.
    getSelection().selectAllChildren(code)
    document.execCommand('copy')
  }
  button.textContent = 'Copied'
  setTimeout(() => (button.textContent = 'Copy'), 1500)
}

// The line that turns green when the first event arrives.
function waitForEvent(line) {
  const stream = new EventSource(line.dataset.firstEvent)
  stream.onmessage = ({ data }) => {
    stream.close()
    const event = JSON.parse(data)
    const where = event.path ? ` on ${event.host}${event.path}` : ''
    const but = event.excluded ? ` (not counted: ${event.excluded})` : ''
    line.textContent = `It has arrived: ${event.name}${where}${but}`
    line.classList.add('on')
  }
  addEventListener('pagehide', () => stream.close())
}

function enliven(within) {
  $$('[data-copy]', within).forEach((button) => {
    button.hidden = false
    button.addEventListener('click', () => copy(button))
  })
  $$('form[data-live]', within).forEach(live)
  $$('.side [aria-current]', within).forEach((here) => here.scrollIntoView({ block: 'nearest', inline: 'center' }))
  $$('[data-first-event]', within).forEach(waitForEvent)
  $$('select[data-here]', within).forEach((select) => {
    const here = Intl.DateTimeFormat().resolvedOptions().timeZone
    if ([...select.options].some((option) => option.value === here)) select.value = here
  })
  $$('[data-follows]', within).forEach((field) => {
    const followed = within.querySelector(`#${field.dataset.follows}`)
    const host = () => followed.value.trim().replace(/^https?:\/\//, '').replace(/[^\w.-].*$/, '')
    followed.addEventListener('input', () => (field.placeholder = host()))
    field.placeholder = host()
  })
}

addEventListener('submit', (event) => {
  const form = event.target
  if (event.defaultPrevented || form.method !== 'post') return
  if (form.closest('main[data-in-place]')) {
    event.preventDefault()
    send(form, event.submitter)
  } else {
    // Sent twice by a double click, it would be answered twice.
    setTimeout(() => $$('button', form).forEach((one) => (one.disabled = true)))
    addEventListener('pageshow', () => $$('button', form).forEach((one) => (one.disabled = false)), { once: true })
  }
})
// One confirmation at a time, and Escape takes it back.
addEventListener('toggle', (event) => {
  if (!event.target.matches?.('details.confirm[open]')) return
  $$('details.confirm[open]').forEach((other) => (other.open = other === event.target))
}, true)
addEventListener('keydown', (event) => {
  const open = event.key === 'Escape' && event.target.closest?.('details.confirm[open]')
  if (open) {
    open.open = false
    open.querySelector('summary').focus()
  }
})
addEventListener('click', (event) => {
  $$('details.asks[open]').forEach((asked) => (asked.open = asked.contains(event.target)))
})
addEventListener('popstate', () => location.reload())
enliven(document)
