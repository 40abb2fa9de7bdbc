// Enhances the dashboard: its links load in place, keys follow links, the number of active visitors stays up to date,
// and the chart shows the values of the point under the pointer. Loaded after ui.js, whose functions it uses.
{
  const dashboard = () => document.querySelector('main[data-dashboard]')
  const isHere = (url) => url.origin === location.origin && url.pathname === location.pathname

  // Shows another period, filter or tab. The focused element keeps the focus if it still exists.
  let latest
  const navigate = async (url, isTraversal = false) => {
    latest?.abort()
    const controller = (latest = new AbortController())
    dashboard().setAttribute('aria-busy', 'true')
    try {
      const { response, page } = await load(url, { signal: controller.signal })
      const [current, replacement] = [dashboard(), page.querySelector('main[data-dashboard]')]
      if (controller !== latest) return
      if (!replacement) throw new Error('not a dashboard')
      const focused = document.activeElement
      const [hadFocus, href, id] = [current.contains(focused), focused?.getAttribute('href'), focused?.closest('[id]')?.id]
      if (!isTraversal) setUrl(response.url)
      document.title = page.title
      $$('details[id][open]', current).forEach(({ id }) => replacement.querySelector(`#${id}`)?.setAttribute('open', ''))
      swap(current, replacement)
      if (hadFocus) restoreFocus(replacement, href, id)
    } catch (error) {
      if (error.name === 'AbortError') return
      if (isTraversal) location.reload()
      else location.assign(url)
    }
  }
  const restoreFocus = (replacement, href, id) => {
    const matches = $$('a', replacement).filter((link) => href && link.getAttribute('href') === href)
    const match = matches.find((link) => link.closest('[id]').id === id) || matches[0]
    const link = match || $$('[data-chip]', replacement).at(-1)
    const target = link?.closest('details:not([open])')?.querySelector('summary') || link || replacement
    target.focus({ preventScroll: true })
  }
  const follow = (link) => link && (isHere(link) ? navigate(link.href) : location.assign(link.href))

  addEventListener('click', (event) => {
    $$('details.menu[open]').forEach((menu) => (menu.open = menu.contains(event.target)))
    const link = event.target.closest?.('main[data-dashboard] a[href]')
    const hasModifier = event.ctrlKey || event.metaKey || event.shiftKey || event.altKey
    if (!link || event.defaultPrevented || hasModifier || !isHere(link) || link.target || link.hasAttribute('download')) return
    if (link.getAttribute('href').startsWith('#')) return
    event.preventDefault()
    navigate(link.href.replace(/#.*/, ''))
  })
  addEventListener('submit', (event) => {
    const form = event.target
    if (form.method !== 'get' || !form.closest('main[data-dashboard]')) return
    event.preventDefault()
    navigate(`${form.action}?${new URLSearchParams(new FormData(form))}`)
  })
  // Back and forward load in place. ui.js reloads the page at a popstate unless `currentUrl` is already the new URL, so
  // that is set first. Browsers without the Navigation API reload the whole page.
  let isTraversal = false
  globalThis.navigation?.addEventListener('navigate', ({ navigationType, destination }) => {
    const target = new URL(destination.url)
    const targetUrl = target.pathname + target.search
    if (navigationType !== 'traverse' || !destination.sameDocument || !isHere(target) || currentUrl === targetUrl) return
    isTraversal = Boolean(dashboard())
    if (isTraversal) currentUrl = targetUrl
  })
  addEventListener('popstate', () => {
    if (isTraversal) navigate(location.href, true)
    isTraversal = false
  })

  addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !dashboard()) return
    const help = document.querySelector('#help')
    const menu = document.querySelector('details.menu[open]')
    if (help?.open) return
    if (event.key === 'Escape' && menu) {
      menu.open = false
      menu.querySelector('summary').focus()
      return
    }
    if (event.target.closest?.('input, select, textarea')) return
    if (event.key === 'Escape') follow($$('[data-chip]').at(-1))
    else if (event.key === '?') help?.showModal()
    else if (!event.repeat) follow($$('[data-key]').find((link) => link.dataset.key === event.key?.toUpperCase()))
  })

  // One stream per page, and none while the page is hidden: browsers allow few connections to one server.
  let stream
  const listen = () => {
    const live = document.hidden ? '' : dashboard()?.dataset.live
    const url = live ? new URL(live, location).href : ''
    if (stream?.url === url && stream.readyState !== EventSource.CLOSED) return
    stream?.close()
    stream = url ? new EventSource(url) : undefined
    if (!stream) return
    stream.onmessage = ({ data }) => {
      const { active } = JSON.parse(data)
      $$('[data-active]').forEach((number) => {
        number.textContent = active.toLocaleString('en')
        number.parentElement.classList.toggle('has-visitors', active > 0)
      })
    }
    // An EventSource reconnects by itself, but not after a proxy has answered with an error.
    stream.onerror = () => stream?.readyState === EventSource.CLOSED && setTimeout(listen, 10000)
  }
  document.addEventListener('visibilitychange', listen)
  addEventListener('pageshow', listen)
  addEventListener('pagehide', () => {
    stream?.close()
    stream = undefined
  })

  // Shows the values of the point under the pointer, or of the point that the arrow keys have selected.
  const addTooltip = (figure) => {
    const [plot, svg] = [figure.querySelector('.plot'), figure.querySelector('.plot > svg')]
    const [strips, rows] = [$$('.targets rect', svg), $$('tbody tr', figure)]
    const tooltips = strips.map((strip) => {
      const title = strip.querySelector('title')
      title.remove() // otherwise the browser shows its own tooltip as well
      return title.textContent
    })
    const make = (className) => plot.appendChild(Object.assign(document.createElement('div'), { className, hidden: true }))
    const [line, dot, tip] = ['cursor', 'spot', 'tip'].map(make)
    const [dateText, valueText, markText] = ['strong', 'span', 'span'].map((tag) => tip.appendChild(document.createElement(tag)))
    let selected = -1

    const hide = () => [line, dot, tip].forEach((part) => (part.hidden = true))
    const select = (index) => {
      selected = index
      const { x, y } = strips[index].dataset
      dateText.textContent = rows[index].cells[0].textContent
      valueText.textContent = tooltips[index].slice(dateText.textContent.length + 2)
      markText.textContent = (svg.querySelector(`.mark[x="${x}%"] title`)?.textContent ?? '').replace(/^(?=.)/gm, '◆ ')
      line.hidden = tip.hidden = false
      dot.hidden = y === undefined
      line.style.left = dot.style.left = `${x}%`
      dot.style.top = `${y ?? 0}%`
      const [left, top] = [(plot.clientWidth * x) / 100, (plot.clientHeight * (y ?? 50)) / 100]
      tip.style.left = `${Math.max(-40, Math.min(plot.clientWidth - tip.offsetWidth, left - tip.offsetWidth / 2))}px`
      tip.style.top = `${top - tip.offsetHeight - 14 < -30 ? top + 14 : top - tip.offsetHeight - 14}px`
    }

    const selectUnderPointer = (event) => {
      const index = strips.indexOf(event.target)
      if (index >= 0) select(index)
    }
    svg.tabIndex = 0
    svg.addEventListener('pointermove', selectUnderPointer)
    svg.addEventListener('pointerdown', selectUnderPointer)
    plot.addEventListener('pointerleave', hide)
    svg.addEventListener('blur', () => {
      tip.removeAttribute('aria-live')
      hide()
    })
    svg.addEventListener('keydown', (event) => {
      const last = strips.length - 1
      const lastWithValue = strips.findLastIndex((strip) => strip.dataset.y !== undefined)
      const start = selected < 0 ? Math.max(lastWithValue, 0) + 1 : selected
      const next = { ArrowLeft: start - 1, ArrowRight: selected < 0 ? 0 : selected + 1, Home: 0, End: last }[event.key]
      if (event.key === 'Escape' && !tip.hidden) hide()
      else if (next === undefined) return
      else {
        tip.setAttribute('aria-live', 'polite')
        select(Math.max(0, Math.min(last, next)))
      }
      event.preventDefault()
    })
  }

  const enhanceDashboard = (within) => {
    $$('[data-chart]', within).forEach(addTooltip)
    $$('[data-help]', within).forEach((button) => {
      const help = button.parentElement.querySelector('dialog')
      button.hidden = false
      button.addEventListener('click', () => help.showModal())
      help.addEventListener('click', (event) => {
        // A click on the backdrop has the dialog itself as its target.
        if (event.target === help || event.target.closest('[data-close]')) help.close()
      })
    })
    listen()
  }

  // ui.js enhances every element that it adds to the page; from here on, that includes the dashboard's parts.
  const enhanceBasics = enhance
  enhance = (within) => {
    enhanceBasics(within)
    enhanceDashboard(within)
  }
  enhanceDashboard(document)
}
