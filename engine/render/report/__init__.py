"""Reports: one HTML page with pictures of images, which loads nothing.

`facts.py` has what a report shows, `page.py` writes the page. `page.html`, `page.css` and `page.js` are its parts, and
`echarts.min.js` draws its charts: the part of Apache ECharts that build/charts makes.
"""
