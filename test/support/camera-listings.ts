/** What the programs that know cameras print: recorded shapes of a webcam, a test driver, and boards with an image processor. */

const info = (driver: string, card: string, caps: string, deviceCaps: string) => `Driver Info:
	Driver name      : ${driver}
	Card type        : ${card}
	Bus info         : usb-0000:00:14.0-1
	Driver version   : 6.1.76
	Capabilities     : ${caps}
		Video Capture
		Metadata Capture
		Streaming
		Extended Pix Format
		Device Capabilities
	Device Caps      : ${deviceCaps}
		Streaming
		Extended Pix Format
`;

/** A USB webcam of three formats; 1280x720 is slow in YUYV, as USB 2 carries no more. */
export const webcam = `${info('uvcvideo', 'HD Pro Webcam C920', '0x84a00001', '0x04200001')}ioctl: VIDIOC_ENUM_FMT
	Type: Video Capture

	[0]: 'YUYV' (YUYV 4:2:2)
		Size: Discrete 640x480
			Interval: Discrete 0.033s (30.000 fps)
			Interval: Discrete 0.042s (24.000 fps)
			Interval: Discrete 0.067s (15.000 fps)
		Size: Discrete 640x360
			Interval: Discrete 0.033s (30.000 fps)
			Interval: Discrete 0.067s (15.000 fps)
		Size: Discrete 1280x720
			Interval: Discrete 0.100s (10.000 fps)
			Interval: Discrete 0.200s (5.000 fps)
	[1]: 'H264' (H.264, compressed)
		Size: Discrete 1280x720
			Interval: Discrete 0.033s (30.000 fps)
			Interval: Discrete 0.067s (15.000 fps)
	[2]: 'MJPG' (Motion-JPEG, compressed)
		Size: Discrete 640x480
			Interval: Discrete 0.033s (30.000 fps)
		Size: Discrete 640x480
			Interval: Discrete 0.033s (30.000 fps)
		Size: Discrete 1280x720
			Interval: Discrete 0.033s (30.000 fps)
			Interval: Discrete 0.067s (15.000 fps)
		Size: Discrete 1920x1080
			Interval: Discrete 0.033s (30.000 fps)
`;

/** The second node of the same webcam. */
export const webcamMetadata = `${info('uvcvideo', 'HD Pro Webcam C920', '0x84a00001', '0x04a00000')}ioctl: VIDIOC_ENUM_FMT
	Type: Video Capture

`;

/** The kernel's test driver. */
export const vivid = `${info('vivid', 'vivid', '0xbdf1ffff', '0x05200001')}ioctl: VIDIOC_ENUM_FMT
	Type: Video Capture

	[0]: 'YUYV' (YUYV 4:2:2)
		Size: Discrete 320x180
			Interval: Discrete 1.000s (1.000 fps)
			Interval: Discrete 0.040s (25.000 fps)
			Interval: Discrete 0.033s (30.000 fps)
			Interval: Discrete 0.017s (60.000 fps)
		Size: Discrete 1280x720
			Interval: Discrete 0.033s (30.000 fps)
	[1]: 'UYVY' (UYVY 4:2:2)
		Size: Discrete 320x180
			Interval: Discrete 0.040s (25.000 fps)
	[2]: 'RGBP' (16-bit RGB 5-6-5)
		Size: Discrete 320x180
			Interval: Discrete 0.040s (25.000 fps)
	[3]: 'NM12' (Y/CbCr 4:2:0 (N-C))
		Size: Discrete 320x180
`;

/** The old Raspberry Pi driver, with its ranges. */
export const stepwise = `${info('bm2835 mmal', 'mmal service 16.1', '0x85200005', '0x05200005')}ioctl: VIDIOC_ENUM_FMT
	Type: Video Capture

	[0]: 'YU12' (Planar YUV 4:2:0)
		Size: Stepwise 32x32 - 2592x1944 with step 2/2
			Interval: Stepwise 0.011s - 1.000s with step 0.000s (1.000-90.000 fps)
	[1]: 'H264' (H.264, compressed)
		Size: Stepwise 32x32 - 2592x1944 with step 2/2
			Interval: Continuous 0.011s - 1.000s (1.000-90.000 fps)
`;

/** v4l2-ctl 1.12. */
export const oldForm = `Driver Info (not using libv4l2):
	Driver name   : uvcvideo
	Card type     : USB 2.0 Camera
	Bus info      : usb-101c0000.ehci-1.2
	Driver version: 4.18.7
	Capabilities  : 0x84200001
		Video Capture
	Device Caps   : 0x04200001
		Video Capture
ioctl: VIDIOC_ENUM_FMT
	Index       : 0
	Type        : Video Capture
	Pixel Format: 'MJPG' (compressed)
	Name        : Motion-JPEG
		Size: Discrete 640x480
			Interval: Discrete 0.033s (30.000 fps)
`;

const piFormats = `ioctl: VIDIOC_ENUM_FMT
	Type: Video Capture

	[0]: 'YUYV' (YUYV 4:2:2)
		Size: Stepwise 32x32 - 16384x16384 with step 2/2
	[1]: 'YU12' (Planar YUV 4:2:0)
		Size: Stepwise 32x32 - 16384x16384 with step 2/2
`;
/** Nodes of a Raspberry Pi that are no cameras: codec (memory to memory), image processor, camera port of a media graph. */
export const piNodes: Record<string, string> = {
  codec: `${info('bcm2835-codec', 'bcm2835-codec-decode', '0x84204000', '0x04204000')}${piFormats}`,
  isp: `${info('bcm2835-isp', 'bcm2835-isp', '0x84200001', '0x04200001')}${piFormats}`,
  unicam: `${info('unicam', 'unicam', '0xa5a00001', '0x25200001')}${piFormats}`,
};

/** ffmpeg 5.1 `-list_formats all`, with a range as drivers of boards give it. */
export const ffmpegFormats = `[video4linux2,v4l2 @ 0x5597f0502940] Raw       :     yuyv422 :           YUYV 4:2:2 : 640x480 640x360 1280x720
[video4linux2,v4l2 @ 0x5597f0502940] Compressed:       mjpeg :          Motion-JPEG : 640x480 1280x720 1920x1080
[video4linux2,v4l2 @ 0x5597f0502940] Raw       : Unsupported :   16-bit RGB 5-6-5 BE : 640x480
[video4linux2,v4l2 @ 0x5597f0502940] Compressed:        h264 :                H.264 : {32-1920, 2}x{32-1080, 2}
/dev/video0: Immediate exit requested
`;

export const libcameraList = `[0:13:57.732391469] [810]  INFO Camera camera_manager.cpp:326 libcamera v0.5.0+59-d83ff0a4
Available cameras
-----------------
0 : imx708_wide [4608x2592 10-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
                             2304x1296 [56.03 fps - (0, 0)/4608x2592 crop]
                             4608x2592 [14.35 fps - (0, 0)/4608x2592 crop]

1 : imx477 [4056x3040] (/base/soc/i2c0mux/i2c@0/imx477@1a)
    Modes: 'SRGGB10_CSI2P' : 1332x990 (120.00 fps)
           'SRGGB12_CSI2P' : 2028x1080 (50.00 fps), 2028x1520 (40.00 fps), 4056x3040 (10.00 fps)
`;

/** December 2021: no rates. */
export const oldLibcameraList = `Available cameras
-----------------
0 : imx477 [4056x3040] (/base/soc/i2c0mux/i2c@1/imx477@1a)
    Modes: 'SRGGB10_CSI2P' : 1332x990 
           'SRGGB12_CSI2P' : 2028x1080 2028x1520 4056x3040
`;
