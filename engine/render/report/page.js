/* The charts, the filter and the keys of a report. Text of images is only ever set as text, never parsed as HTML. */
(() => {
  'use strict';
  const data = JSON.parse(document.getElementById('data').textContent);
  const find = (selector) => document.querySelector(selector);
  const findAll = (selector) => [...document.querySelectorAll(selector)];
  const many = (count, noun) => `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clip = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
  const isStill = matchMedia('(prefers-reduced-motion: reduce)').matches;

  /* Sizes as docker prints them: three digits, decimal units. */
  const formatSize = (bytes) => {
    const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];
    let unit = 0;
    while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
    return `${Number(bytes.toPrecision(3))}${units[unit]}`;
  };

  /* The content of a tooltip: a bold line and others, as elements. */
  const makeTip = (first, ...others) => {
    const tip = document.createElement('div');
    tip.className = 'tip';
    for (const [place, text] of [first, ...others].entries()) {
      const line = document.createElement(place ? 'span' : 'b');
      line.textContent = text;
      tip.append(line);
    }
    return tip;
  };

  /* The table of images: sorted by a column, and filtered by words and by what is chosen in a picture. */

  const body = find('#table tbody');
  const rows = [...body.rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  let chosen = null;

  const filterRows = () => {
    const words = find('#filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const images = chosen && new Set(chosen.images);
    let count = 0;
    for (const [place, row] of rows.entries()) {
      const fits = words.every((word) => texts[place].includes(word)) && (!images || images.has(place));
      row.hidden = !fits;
      count += fits;
    }
    const all = count === rows.length && !chosen;
    find('#shown').textContent = all ? many(count, 'image')
      : `${count.toLocaleString('en')} of ${many(rows.length, 'image')}${chosen ? `: ${chosen.title}` : ''}`;
    find('#clear').hidden = all && !words.length;
    find('#images .sentence code').textContent = chosen && chosen.condition ? data.prefix + chosen.condition : data.all;
  };

  const choose = (title, images, condition) => {
    chosen = { title, images, condition };
    find('#filter').value = '';
    filterRows();
    find('#images').scrollIntoView({ behavior: isStill ? 'auto' : 'smooth' });
  };

  const sortRows = (column, descending) => {
    const read = (row) => {
      const cell = row.cells[column];
      return cell.dataset.v === undefined ? cell.textContent.toLowerCase() : Number(cell.dataset.v);
    };
    const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
    const keyed = rows.map((row) => [read(row), row]);
    keyed.sort((one, other) => compare(one[0], other[0]) * (descending ? -1 : 1));
    body.append(...keyed.map((pair) => pair[1]));
  };

  for (const [column, head] of findAll('#table th').entries()) {
    head.querySelector('button').addEventListener('click', () => {
      const isNumber = rows.length > 0 && rows[0].cells[column].dataset.v !== undefined;
      const order = head.getAttribute('aria-sort');
      const descending = order === 'none' ? isNumber : order === 'ascending';
      for (const other of findAll('#table th')) other.setAttribute('aria-sort', 'none');
      head.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
      sortRows(column, descending);
    });
  }
  find('#filter').addEventListener('input', filterRows);
  find('#clear').addEventListener('click', () => {
    chosen = null;
    find('#filter').value = '';
    filterRows();
    find('#filter').focus();
  });

  /* What a picture's item stands for: used by charts and by the buttons of the tables beside them. */

  const chooseItem = (kind, number) => {
    const item = data[kind][number];
    if (!item) return;
    if (kind !== 'layers') {
      choose(item.name, item.images, item.condition);
      return;
    }
    const [, digest, , step, images] = item;
    choose(digest ? `with the layer ${digest.replace(/^\w+:/, '').slice(0, 12)}` : step, images,
      digest ? `has layer ${digest}` : '');
  };
  for (const button of findAll('[data-choose]')) {
    button.addEventListener('click', () => chooseItem(button.dataset.choose, Number(button.dataset.item)));
  }

  /* Charts: each is a function of its element that returns the options of ECharts. */

  const base = () => ({
    animation: !isStill,
    animationDuration: 300,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: color('--text') },
    tooltip: {
      confine: true,
      backgroundColor: color('--card'),
      borderColor: color('--line'),
      textStyle: { color: color('--text') },
    },
  });
  const shades = () => ['--s1', '--s2', '--s3', '--s4'].map(color);
  const findShade = (count) => (count < 2 ? 0 : count < 5 ? 1 : count < 20 ? 2 : 3);

  const drawLayers = () => {
    const fills = shades();
    const inks = [color('--s1-text'), color('--s1-text'), color('--s3-text'), color('--s3-text')];
    const groups = data.groups.map((name) => ({ name, value: 0, children: [], itemStyle: { color: fills[0] } }));
    for (const [number, [group, digest, size, step, images]] of data.layers.entries()) {
      const shade = findShade(images.length);
      groups[group].value += size;
      groups[group].children.push({
        name: digest ? step || digest.replace(/^\w+:/, '').slice(0, 12) : step,
        value: size,
        number,
        itemStyle: { color: fills[shade] },
        label: { color: inks[shade] },
      });
    }
    const picked = find('#group').value;
    const shown = picked === '' ? groups.filter((group) => group.children.length) : groups[picked].children;
    const edge = color('--card');
    return {
      ...base(),
      tooltip: {
        ...base().tooltip,
        formatter: ({ data: item }) => {
          if (!item || item.number === undefined) return item ? makeTip(item.name, formatSize(item.value)) : '';
          const [group, digest, size, step, images] = data.layers[item.number];
          return makeTip(`${formatSize(size)} in ${many(images.length, 'image')}`, data.groups[group], digest, step);
        },
      },
      series: [{
        type: 'treemap',
        data: shown,
        left: 0, right: 0, top: 0, bottom: 0,
        roam: false,
        nodeClick: false,
        breadcrumb: { show: false },
        visibleMin: 30,
        label: { show: true, formatter: ({ name, value }) => `${formatSize(value)}\n${clip(name, 60)}`, overflow: 'truncate', ellipsis: '…', lineOverflow: 'truncate', fontSize: 11, lineHeight: 13, padding: [2, 3], position: 'insideTopLeft' },
        upperLabel: {
          show: picked === '', height: 20, color: color('--text'), overflow: 'truncate', fontWeight: 600, fontSize: 12,
          formatter: ({ name, value }) => `${name}  ${formatSize(value)}`,
        },
        itemStyle: { borderColor: edge, borderWidth: 1, gapWidth: 1 },
        levels: picked === '' ? [
          { itemStyle: { borderColor: edge, borderWidth: 0, gapWidth: 4 }, upperLabel: { show: false } },
          { itemStyle: { borderColor: color('--code'), borderWidth: 2, gapWidth: 1 } },
        ] : [{ itemStyle: { borderWidth: 0, gapWidth: 1 } }],
      }],
    };
  };

  const opened = new Set();
  const OPEN = 4; // levels that are open at first
  const MANY = 12; // more children are closed at first
  const EDGE = 20; // pixels before the first circle
  const LABEL = 330; // pixels of the last labels
  const drawLineage = (element) => {
    let leaves = 0;
    let depth = 0;
    let longest = 0; // characters of a label with another one on its right
    const make = (node, path, level) => {
      const [place, children] = node;
      const isOpen = children.length > 0 && (opened.has(path) !== (children.length <= MANY && level < OPEN));
      depth = Math.max(depth, level);
      const below = isOpen ? children.map((child, at) => make(child, `${path}/${at}`, level + 1)) : [];
      if (!below.length) leaves += 1;
      else longest = Math.max(longest, Math.min(44, data.labels[place].length));
      return {
        name: clip(data.labels[place], 44) + (children.length && !isOpen ? `  +${children.length}` : ''),
        place, path, count: children.length,
        symbol: children.length ? 'circle' : 'emptyCircle',
        children: below,
      };
    };
    const families = data.lineage.map((node, at) => [node, at]).filter(([node]) => node[1].length);
    const roots = families.map(([node, at]) => make(node, String(at), 1));
    const room = element.parentElement.clientWidth - EDGE - LABEL;
    const least = Math.max(230, Math.ceil(longest * 6.8) + 40);
    const column = Math.max(least, Math.min(360, Math.floor(room / Math.max(1, depth - 1))));
    element.style.height = `${Math.max(60, leaves * 22 + 24)}px`;
    element.style.width = `${Math.max(element.parentElement.clientWidth, EDGE + (depth - 1) * column + LABEL)}px`;
    return {
      ...base(),
      animation: false,
      tooltip: {
        ...base().tooltip,
        formatter: ({ data: item }) => (item.place === undefined ? '' : makeTip(
          data.labels[item.place],
          data.sizes[item.place] === null ? 'size unknown' : formatSize(data.sizes[item.place]),
          item.count ? `${many(item.count, 'image')} directly based on it` : 'no image is based on it',
        )),
      },
      series: [{
        type: 'tree',
        data: [{ name: '', children: roots, symbolSize: 0, lineStyle: { opacity: 0 } }], // one root, which is left of what is visible
        left: EDGE - column, width: depth * column, top: 12, bottom: 12,
        edgeShape: 'polyline',
        edgeForkPosition: '30%',
        expandAndCollapse: false,
        initialTreeDepth: -1,
        symbolSize: 8,
        itemStyle: { color: color('--s3'), borderColor: color('--s3') },
        lineStyle: { color: color('--line'), width: 1.2 },
        label: {
          position: 'right', distance: 6, color: color('--text'), fontSize: 12, backgroundColor: color('--card'), padding: [2, 4],
        },
      }],
    };
  };

  const drawBars = (items, series, extra) => ({
    ...base(),
    grid: { left: 8, right: 24, top: 8, bottom: 8, containLabel: true },
    ...extra,
    series,
  });
  const axisText = () => ({ color: color('--soft'), fontSize: 11 });
  const valueAxis = (format) => ({
    type: 'value',
    axisLabel: { ...axisText(), formatter: format, hideOverlap: true },
    splitLine: { lineStyle: { color: color('--line') } },
  });
  const nameAxis = (names, length) => ({
    type: 'category',
    data: names,
    axisTick: { show: false },
    axisLine: { lineStyle: { color: color('--line') } },
    axisLabel: { ...axisText(), interval: 0, formatter: (name) => clip(name, length) },
  });
  const SHOWN = 15;

  const drawRepositories = (element) => {
    const items = data.repositories.slice(0, SHOWN);
    element.style.height = `${Math.max(120, items.length * 26 + 50)}px`;
    const length = element.clientWidth < 500 ? 18 : 30;
    const bar = (name, key, fill) => ({
      name, type: 'bar', stack: 'size', barMaxWidth: 18, itemStyle: { color: color(fill) }, data: items.map((item) => item[key]),
    });
    return drawBars(items, [bar('only here', 'own', '--s3'), bar('shared with others', 'shared', '--s1')], {
      xAxis: valueAxis(formatSize),
      yAxis: { ...nameAxis(items.map((item) => item.name), length), inverse: true },
      tooltip: {
        ...base().tooltip,
        formatter: ({ dataIndex }) => {
          const { name, own, shared, images } = items[dataIndex];
          return makeTip(name, `${formatSize(own)} in layers that only this repository has`,
            `${formatSize(shared)} in layers that others have too`, many(images.length, 'image'));
        },
      },
    });
  };

  const drawAges = (element) => {
    const items = data.ages;
    const narrow = element.clientWidth < 500;
    return drawBars(items, [{
      type: 'bar', barMaxWidth: 46, itemStyle: { color: color('--s3') }, data: items.map((item) => item.images.length),
      label: { show: true, position: 'top', color: color('--soft'), formatter: ({ value }) => (value ? String(value) : '') },
    }], {
      grid: { left: 8, right: 12, top: 24, bottom: 8, containLabel: true },
      xAxis: { ...nameAxis(items.map((item) => item.name), 16), axisLabel: { ...axisText(), interval: 0, rotate: narrow ? 60 : 35 } },
      yAxis: { ...valueAxis(String), minInterval: 1 },
      tooltip: {
        ...base().tooltip,
        formatter: ({ dataIndex }) => {
          const { name, images } = items[dataIndex];
          const size = images.reduce((sum, place) => sum + (data.sizes[place] || 0), 0);
          return makeTip(name, many(images.length, 'image'), `${formatSize(size)} together`);
        },
      },
    });
  };

  const drawWaste = (element) => {
    const items = data.waste.filter((item) => item[1]).slice(0, SHOWN);
    element.style.height = `${Math.max(120, items.length * 26 + 50)}px`;
    return drawBars(items, [{
      type: 'bar', barMaxWidth: 18, itemStyle: { color: color('--s3') }, data: items.map((item) => item[1]),
    }], {
      xAxis: valueAxis(formatSize),
      yAxis: { ...nameAxis(items.map((item) => item[0]), element.clientWidth < 500 ? 18 : 30), inverse: true },
      tooltip: {
        ...base().tooltip,
        formatter: ({ dataIndex }) => {
          const [name, wasted, size, paths] = items[dataIndex];
          return makeTip(name, `${formatSize(wasted)} of ${formatSize(size)} hidden by upper layers`, many(paths, 'path'));
        },
      },
    });
  };

  const draw = {
    layers: drawLayers, lineage: drawLineage, repositories: drawRepositories, ages: drawAges, waste: drawWaste,
  };
  const charts = new Map();
  const redraw = (name) => {
    const element = find(`#chart-${name}`);
    if (!element) return;
    const options = draw[name](element);
    let chart = charts.get(name);
    if (!chart) {
      chart = echarts.init(element, null, { renderer: 'svg' });
      charts.set(name, chart);
      element.setAttribute('role', 'img');
      element.setAttribute('aria-label', element.closest('section').querySelector('h2').textContent);
    }
    chart.clear(); // ECharts 6.1 fails on a tree whose nodes are gone
    chart.resize();
    chart.setOption(options);
  };
  const redrawAll = () => Object.keys(draw).forEach(redraw);

  for (const [place, name] of data.groups.entries()) {
    const option = document.createElement('option');
    option.value = String(place);
    option.textContent = name;
    find('#group').append(option);
  }
  find('#group').addEventListener('change', () => redraw('layers'));
  if (!data.lineage.some((node) => node[1].length)) {
    find('#chart-lineage').closest('.frame').remove();
    delete draw.lineage;
  }
  redrawAll();
  charts.get('layers').on('click', ({ data: item }) => { if (item && item.number !== undefined) chooseItem('layers', item.number); });
  charts.get('repositories').on('click', ({ dataIndex }) => chooseItem('repositories', dataIndex));
  charts.get('ages').on('click', ({ dataIndex }) => chooseItem('ages', dataIndex));
  if (charts.has('lineage')) {
    charts.get('lineage').on('click', ({ data: item }) => {
      if (item.path === undefined || !item.count) return;
      if (!opened.delete(item.path)) opened.add(item.path);
      redraw('lineage');
    });
  }

  /* Copying, colours, and the size of the window. */

  const say = (text) => {
    find('#status').textContent = text;
    setTimeout(() => { find('#status').textContent = ''; }, 1800);
  };
  const copyByHand = (text) => {
    const field = document.createElement('textarea');
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand('copy');
    field.remove();
    return done;
  };
  for (const button of findAll('.copy')) {
    button.addEventListener('click', async () => {
      const text = button.previousElementSibling.textContent;
      let done = true;
      try { await navigator.clipboard.writeText(text); } catch { done = copyByHand(text); }
      say(done ? 'Copied' : 'Not copied: select the text instead');
      button.focus();
    });
  }
  const isDark = () => (document.documentElement.dataset.theme
    || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
  find('#theme').addEventListener('click', () => {
    document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
    redrawAll();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redrawAll);
  let timer = 0;
  let width = innerWidth;
  addEventListener('resize', () => {
    if (innerWidth === width) return;
    width = innerWidth;
    clearTimeout(timer);
    timer = setTimeout(redrawAll, 120);
  });
  document.documentElement.dataset.ready = 'true';
})();
