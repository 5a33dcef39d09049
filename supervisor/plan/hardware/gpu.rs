//! The device nodes of graphics processors that programs need to render and to compute.
//!
//! Owns the table. It does not contain nodes that control a screen (dri/card*, fb*, nvidia-modeset, graphics/*). As in
//! udev's rules, all users may use a render node, which gives no access to the buffers of others.

use super::row::Row;

/// Groups of their users; `render` is newer.
const GRAPHICS: &[&str] = &["render", "video"];

const fn render(pattern: &'static str) -> Row {
    Row { pattern, groups: GRAPHICS, mode: 0o666 }
}

/// Their names.
pub const ROWS: &[Row] = &[
    // Direct Rendering Manager: every driver of mainline, also Qualcomm's msm, panfrost, lima, panthor, v3d,
    // virtio-gpu.
    render("dri/renderD*"),
    // AMD's computing (ROCm) beside DRM.
    render("kfd"),
    // Nvidia's driver: each processor, the control node, unified memory, and the parts of a divided processor.
    render("nvidia?"),
    render("nvidia??"),
    render("nvidiactl"),
    render("nvidia-uvm"),
    render("nvidia-uvm-tools"),
    render("nvidia-caps"),
    // Nvidia's Tegra.
    render("nvhost-*"),
    render("nvmap"),
    // Qualcomm's Adreno with the driver of phones.
    render("kgsl-*"),
    // Arm's Mali with Arm's driver.
    render("mali*"),
    // Imagination's PowerVR, with its fences.
    render("pvrsrvkm*"),
    render("pvr_sync"),
    // Windows' processors in WSL.
    render("dxg"),
    // Memory that is shared with the processor: DMA-BUF heaps (5.6), and ION before them.
    render("dma_heap"),
    render("ion"),
    // Fences in software.
    render("sw_sync"),
];
