// Progressive enhancement: every form and link also works without this script.

const $$ = (selector, within = document) => [...within.querySelectorAll(selector)]

// Path and query of the page that is on screen; popstate compares the address bar with it.
let currentUrl = location.pathname + location.search

function setUrl(url, method = url === location.href ? 'replaceState' : 'pushState') {
  history[method](null, '', url)
  currentUrl = location.pathname + location.search
}

// Replaces an element of this page with one from a fetched page.
function swap(current, replacement) {
  current.replaceWith(replacement)
  enhance(replacement)
}

async function load(url, options) {
  const response = await fetch(url, { headers: { Accept: 'text/html' }, ...options })
  const page = new DOMParser().parseFromString(await response.text(), 'text/html')
  if (!page.querySelector('meta[name=application-name][content=ovx-lite]')) throw new Error('not a page of ovx-lite')
  return { response, page }
}

// Sends a form of a settings page and shows the response in place.
async function send(form, button) {
  const body = new URLSearchParams(new FormData(form))
  const label = button?.textContent
  $$('button', form).forEach((other) => (other.disabled = true))
  if (button?.dataset.busy) button.textContent = button.dataset.busy
  try {
    const { response, page } = await load(form.action, { method: 'POST', body })
    if (response.status === 401) return showError('Your session has ended. Log in, then send this again:', 'Log in')
    if (response.redirected) setUrl(response.url)
    document.title = page.title
    // If the response is not a settings page (for example, after a site is deleted), replace the whole body.
    const selector = page.querySelector('main[data-in-place]') ? 'main' : 'body'
    const [current, replacement] = [document.querySelector(selector), page.querySelector(selector)]
    if (selector === 'main') carryOver(current, replacement, form)
    swap(current, replacement)
    focusResult(document.querySelector('main'))
  } catch {
    showError('The server could not be reached. Try again in a moment.')
  }

  // Keeps what the user typed and shows why the form was not sent.
  function showError(text, linkText) {
    $$('button', form).forEach((other) => (other.disabled = false))
    if (button) button.textContent = label
    form.querySelector('.send-error')?.remove()
    const message = Object.assign(document.createElement('p'), { className: 'error send-error', textContent: text + ' ' })
    message.setAttribute('role', 'alert')
    if (linkText) {
      const href = document.querySelector('.brand').href + 'login'
      message.append(Object.assign(document.createElement('a'), { href, target: '_blank', textContent: linkText }))
    }
    form.append(message)
  }
}

// Carries over secrets, which a page shows only once, and what the user typed into the forms that were not sent.
function carryOver(current, replacement, sentForm) {
  const heading = replacement.querySelector('h1')
  for (const notice of $$('.notice:has(.secret)', current)) {
    if (!replacement.querySelector(`.notice[data-subject="${notice.dataset.subject}"]`)) heading.after(notice)
  }
  for (const form of $$('form', current)) {
    const twin = $$('form', replacement).find((other) => other.getAttribute('action') === form.getAttribute('action'))
    if (form === sentForm || !twin) continue
    for (const field of form.elements) {
      const twinField = [...twin.elements].find((other) => other.name === field.name && other.type === field.type
        && (field.type !== 'checkbox' && field.type !== 'radio' || other.value === field.value))
      if (!twinField || !field.name || field.type === 'hidden') continue
      if (field.checked !== field.defaultChecked) twinField.checked = field.checked
      if (field.value !== (field.defaultValue ?? $$('[selected]', field)[0]?.value ?? field.options[0]?.value)) {
        twinField.value = field.value
        twinField.closest('details')?.setAttribute('open', '')
      }
    }
  }
}

// Moves the focus to the first invalid field, else to the message, so that screen readers read it.
function focusResult(main) {
  const target = main.querySelector('[aria-invalid]') || main.querySelector('.notice') || main
  if (!target.matches('input, select, main')) target.tabIndex = -1
  target.focus({ preventScroll: true })
  target.scrollIntoView({ block: target === main ? 'start' : 'center' })
}

// Updates the results of a search form while the user types or chooses.
function searchAsYouType(form) {
  let timer, latest
  const search = async () => {
    const url = `${form.action}?${new URLSearchParams(new FormData(form))}`
    const request = (latest = {})
    try {
      const { page } = await load(url)
      const results = page.getElementById(form.dataset.live)
      if (request !== latest || !results) return
      setUrl(url, 'replaceState')
      swap(document.getElementById(form.dataset.live), results)
    } catch {
      // The server cannot be reached. The button still works, and then the browser shows the error.
    }
  }
  form.addEventListener('input', () => {
    clearTimeout(timer)
    timer = setTimeout(search, 150)
  })
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    clearTimeout(timer)
    search()
  })
}

async function copy(button) {
  const code = button.parentElement.querySelector('code')
  try {
    await navigator.clipboard.writeText(code.textContent)
  } catch {
    // The clipboard API is missing over plain http.
    getSelection().selectAllChildren(code)
    document.execCommand('copy')
  }
  button.textContent = 'Copied'
  setTimeout(() => (button.textContent = 'Copy'), 1500)
}

// Turns the status line green when the first event arrives.
function waitForFirstEvent(line) {
  let stream
  const listen = () => {
    stream?.close()
    // Browsers allow few connections to one server, so a hidden tab holds none.
    if (document.hidden || !line.isConnected || line.matches('.on')) return
    stream = new EventSource(line.dataset.firstEvent)
    stream.onmessage = ({ data }) => {
      stream.close()
      const event = JSON.parse(data)
      const page = event.path ? ` on ${event.host}${event.path}` : ''
      const exclusion = event.excluded ? ` (not counted: ${event.excluded})` : ''
      line.textContent = `The first event has arrived: ${event.name}${page}${exclusion}`
      line.classList.add('on')
    }
    // An EventSource reconnects by itself, but not after a proxy has answered with an error.
    stream.onerror = () => stream.readyState === EventSource.CLOSED && setTimeout(listen, 3000)
  }
  listen()
  document.addEventListener('visibilitychange', listen)
  addEventListener('pagehide', () => stream?.close())
}

// Reloads the page of a delivery that is due soon until it has been sent.
function refreshUntilSent(section, retries = 20) {
  setTimeout(async () => {
    if (!section.isConnected || !retries) return
    const main = (await load(location.href).catch(() => ({}))).page?.querySelector('main')
    if (main && !main.querySelector('[data-soon]') && section.isConnected) swap(document.querySelector('main'), main)
    else refreshUntilSent(section, retries - 1)
  }, 700)
}

// Adds behaviour to new elements. dashboard.js extends this function.
function enhance(within) {
  $$('[data-copy]', within).forEach((button) => {
    button.hidden = false
    button.addEventListener('click', () => copy(button))
  })
  $$('form[data-live]', within).forEach(searchAsYouType)
  $$('.side [aria-current]', within).forEach((link) => link.scrollIntoView({ block: 'nearest', inline: 'center' }))
  $$('[data-first-event]', within).forEach(waitForFirstEvent)
  $$('[data-soon]', within).forEach((section) => refreshUntilSent(section))
  $$('.choice input:not([type])', within).forEach((field) => {
    const choice = field.form.querySelector(`[type=radio][value=${field.name}]`)
    field.addEventListener('input', () => (choice.checked = true))
  })
  $$('select[data-here]', within).forEach((select) => {
    const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone
    if ([...select.options].some((option) => option.value === timezone)) select.value = timezone
  })
  $$('[data-follows]', within).forEach((field) => {
    const source = within.querySelector(`#${field.dataset.follows}`)
    const host = () => source.value.trim().replace(/^https?:\/\//i, '').replace(/[/?#:].*$/, '')
    source.addEventListener('input', () => (field.placeholder = host()))
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
    // A double click must not send the form twice.
    setTimeout(() => $$('button', form).forEach((button) => (button.disabled = true)))
    addEventListener('pageshow', () => $$('button', form).forEach((button) => (button.disabled = false)), { once: true })
  }
})
// One confirmation is open at a time; Escape closes it.
addEventListener('toggle', (event) => {
  if (!event.target.matches?.('details.confirm[open]')) return
  $$('details.confirm[open]').forEach((other) => (other.open = other === event.target))
  event.target.querySelector('form').scrollIntoView({ block: 'nearest' })
}, true)
addEventListener('keydown', (event) => {
  const confirmation = event.key === 'Escape' && event.target.closest?.('details.confirm[open]')
  if (confirmation) {
    confirmation.open = false
    confirmation.querySelector('summary').focus()
  }
})
addEventListener('click', (event) => {
  $$('details.popover[open]').forEach((popover) => (popover.open = popover.contains(event.target)))
})
addEventListener('popstate', () => currentUrl === location.pathname + location.search || location.reload())
enhance(document)
