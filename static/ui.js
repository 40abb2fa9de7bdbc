// What the pages do better with a script. Without it, each form and link works as it is.

const $$ = (selector, within = document) => [...within.querySelectorAll(selector)]

let shown = location.pathname + location.search

function show(url, how = url === location.href ? 'replaceState' : 'pushState') {
  history[how](null, '', url)
  shown = location.pathname + location.search
}

// Takes over a part of another page of ours.
function swap(part, from) {
  part.replaceWith(from)
  enliven(from)
}

async function load(url, options) {
  const answer = await fetch(url, { headers: { Accept: 'text/html' }, ...options })
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html')
  if (!page.querySelector('meta[name=application-name][content=ovx-lite]')) throw new Error('a proxy has answered')
  return { answer, page }
}

// A form of a settings page: sent, and answered, in place.
async function send(form, button) {
  const body = new URLSearchParams(new FormData(form))
  const words = button?.textContent
  $$('button', form).forEach((one) => (one.disabled = true))
  if (button?.dataset.busy) button.textContent = button.dataset.busy
  try {
    const { answer, page } = await load(form.action, { method: 'POST', body })
    if (answer.status === 401) return stay('You are not logged in any more. Then send it again:', 'Log in')
    if (answer.redirected) show(answer.url)
    document.title = page.title
    // Where it leads to another kind of page (the site is gone), all of it is another.
    const part = page.querySelector('main[data-in-place]') ? 'main' : 'body'
    const [old, fresh] = [document.querySelector(part), page.querySelector(part)]
    if (part === 'main') keep(old, fresh, form)
    swap(old, fresh)
    attend(document.querySelector('main'))
  } catch {
    stay('The server could not be reached: try again in a moment.')
  }

  // What was typed stays, with a word on why.
  function stay(text, link) {
    $$('button', form).forEach((one) => (one.disabled = false))
    if (button) button.textContent = words
    form.querySelector('.unsent')?.remove()
    const told = Object.assign(document.createElement('p'), { className: 'wrong unsent', textContent: text + ' ' })
    told.setAttribute('role', 'alert')
    if (link) {
      const href = document.querySelector('.brand').href + 'login'
      told.append(Object.assign(document.createElement('a'), { href, target: '_blank', textContent: link }))
    }
    form.append(told)
  }
}

// Takes along what a page shows once, and what was typed into other forms than the one that was sent.
function keep(old, fresh, sent) {
  const heading = fresh.querySelector('h1')
  for (const notice of $$('.notice:has(.secret)', old)) {
    if (!fresh.querySelector(`.notice[data-whose="${notice.dataset.whose}"]`)) heading.after(notice)
  }
  for (const form of $$('form', old)) {
    const twin = $$('form', fresh).find((one) => one.getAttribute('action') === form.getAttribute('action'))
    if (form === sent || !twin) continue
    for (const field of form.elements) {
      const other = [...twin.elements].find((one) => one.name === field.name && one.type === field.type
        && (field.type !== 'checkbox' && field.type !== 'radio' || one.value === field.value))
      if (!other || !field.name || field.type === 'hidden') continue
      if (field.checked !== field.defaultChecked) other.checked = field.checked
      if (field.value !== (field.defaultValue ?? $$('[selected]', field)[0]?.value ?? field.options[0]?.value)) {
        other.value = field.value
        other.closest('details')?.setAttribute('open', '')
      }
    }
  }
}

// Where to look, and what a screen reader is to read: what is wrong first, then what was done.
function attend(main) {
  const at = main.querySelector('[aria-invalid]') || main.querySelector('.notice') || main
  if (!at.matches('input, select, main')) at.tabIndex = -1
  at.focus({ preventScroll: true })
  at.scrollIntoView({ block: at === main ? 'start' : 'center' })
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
      show(url, 'replaceState')
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
  let stream
  const listen = () => {
    stream?.close()
    // A browser has few connections to spare: a tab that nobody sees takes none.
    if (document.hidden || !line.isConnected || line.matches('.on')) return
    stream = new EventSource(line.dataset.firstEvent)
    stream.onmessage = ({ data }) => {
      stream.close()
      const event = JSON.parse(data)
      const where = event.path ? ` on ${event.host}${event.path}` : ''
      const but = event.excluded ? `, but is not counted (${event.excluded})` : ''
      line.textContent = `It has arrived${but}: ${event.name}${where}`
      line.classList.add('on')
    }
    // It tries again by itself, but not after a proxy has said that the server is gone.
    stream.onerror = () => stream.readyState === EventSource.CLOSED && setTimeout(listen, 3000)
  }
  listen()
  document.addEventListener('visibilitychange', listen)
  addEventListener('pagehide', () => stream?.close())
}

// A delivery that is about to be sent: looked at again until it was.
function lookAgain(part, times = 20) {
  setTimeout(async () => {
    if (!part.isConnected || !times) return
    const main = (await load(location.href).catch(() => ({}))).page?.querySelector('main')
    if (main && !main.querySelector('[data-soon]') && part.isConnected) swap(document.querySelector('main'), main)
    else lookAgain(part, times - 1)
  }, 700)
}

function enliven(within) {
  $$('[data-copy]', within).forEach((button) => {
    button.hidden = false
    button.addEventListener('click', () => copy(button))
  })
  $$('form[data-live]', within).forEach(live)
  $$('.side [aria-current]', within).forEach((here) => here.scrollIntoView({ block: 'nearest', inline: 'center' }))
  $$('[data-first-event]', within).forEach(waitForEvent)
  $$('[data-soon]', within).forEach((part) => lookAgain(part))
  $$('.choice input:not([type])', within).forEach((field) => {
    const choice = field.form.querySelector(`[type=radio][value=${field.name}]`)
    field.addEventListener('input', () => (choice.checked = true))
  })
  $$('select[data-here]', within).forEach((select) => {
    const here = Intl.DateTimeFormat().resolvedOptions().timeZone
    if ([...select.options].some((option) => option.value === here)) select.value = here
  })
  $$('[data-follows]', within).forEach((field) => {
    const followed = within.querySelector(`#${field.dataset.follows}`)
    const host = () => followed.value.trim().replace(/^https?:\/\//i, '').replace(/[/?#:].*$/, '')
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
  event.target.querySelector('form').scrollIntoView({ block: 'nearest' })
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
addEventListener('popstate', () => shown === location.pathname + location.search || location.reload())
enliven(document)
