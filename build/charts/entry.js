// The part of Apache ECharts that reports use: esbuild leaves out the rest.
import { init, use } from 'echarts/core';
import { BarChart, TreeChart, TreemapChart } from 'echarts/charts';
import { GridComponent, TooltipComponent } from 'echarts/components';
import { SVGRenderer } from 'echarts/renderers';

use([BarChart, TreeChart, TreemapChart, GridComponent, TooltipComponent, SVGRenderer]);

export { init };
